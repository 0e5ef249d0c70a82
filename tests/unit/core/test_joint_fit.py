"""Whether an order of several services is bid on, against every way there is to give its replicas cards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import ROUND_UP, Decimal
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from provider.core import quoting
from provider.core.admission import Accepted, decide
from provider.core.choosing import numbers
from provider.core.floor import WEEK_HOURS
from provider.core.policy import PriceFloor, PriceStrategy
from provider.core.space import free
from provider.core.state import AgentState
from provider.domain.gpu import GpuInventory
from provider.domain.ids import NodeName
from provider.domain.market import GroupSpec, Refusal, Refused
from provider.domain.node import HostCapacity, Node
from provider.domain.price import Quote
from provider.domain.resources import GIB, GpuAlternative, GpuAsk
from tests import boxes
from tests.agents import CAPABLE, POLICY, START, group, order, resources, unit

MODELS = ("h100", "a100", "rtx4090", "l40s")
ROOM = HostCapacity(cpu_millis=64_000, memory_bytes=512 * GIB, storage_bytes=4096 * GIB, boot_id="boot")
ANY = (GpuAlternative(vendor="nvidia"),)
FOR_THE_PRICE = (Refusal.PRICE_TOO_LOW, Refusal.BELOW_COST)
STRATEGIES = (PriceStrategy.SCALE, PriceStrategy.SCALE, PriceStrategy.MARKET, PriceStrategy.SCRIPT)


@st.composite
def hosts(draw: st.DrawFn) -> AgentState:
    """Two to five cards of any models, at prices in any order."""
    models = draw(st.lists(st.sampled_from(MODELS), min_size=2, max_size=5))
    cards = tuple(boxes.card(number, model) for number, model in enumerate(models))
    hourly = {model: Decimal(draw(st.integers(1, 9)) * 1_000) for model in MODELS}
    node = Node(name=NodeName("mixed"), capacity=ROOM, inventory=GpuInventory(gpus=cards))
    policy = replace(POLICY, price=replace(POLICY.price, gpu_hour=hourly))
    return AgentState(policy=policy, nodes=(node,), runtime=CAPABLE)


@st.composite
def groups(draw: st.DrawFn) -> GroupSpec:
    """One to three services of one or two replicas, each of up to two cards of what it can use."""
    units = []
    for number in range(1, draw(st.sampled_from((1, 1, 2, 3))) + 1):
        models = draw(st.sets(st.sampled_from(MODELS), max_size=3))
        kinds = tuple(GpuAlternative(vendor="nvidia", model=model) for model in sorted(models)) or ANY
        count = draw(st.sampled_from((0, 1, 2, 2)))
        asked = GpuAsk(units=count, alternatives=kinds if count else ())
        price = draw(st.integers(3, 24))
        units.append(
            unit(resources(number, gpus=asked, cpu_millis=100), count=draw(st.integers(1, 2)), price=price)
        )
    return group(*units)


def every_way(demands: Sequence[tuple[int, int]], left: int) -> Iterator[int]:
    """All sets of cards that serve everybody; ``demands`` are numbers of cards, each out of a set."""
    if not demands:
        yield 0
        return
    (units, cards), *rest = demands
    for those in combinations(numbers(cards & left), units):
        taken = sum(1 << card for card in those)
        yield from (taken | others for others in every_way(rest, left & ~taken))


@st.composite
def hosts_with_a_floor(draw: st.DrawFn) -> AgentState:
    """The same, where what is listed low often costs much."""
    state = draw(hosts())
    listed, share = state.policy.price.gpu_hour, draw(st.sampled_from((6, 10, 14)))
    apart = {model: max(share * 1_000 - price, Decimal(1_000)) for model, price in listed.items()}
    watts = {
        model: draw(st.integers(1, 9).map(lambda told: Decimal(told * 1_000)) | st.just(apart[model]))
        for model in MODELS
    }
    floor = PriceFloor(kwh_dearest=(Decimal(1_000),) * WEEK_HOURS, gpu_watts=watts, host_watts=Decimal(500))
    return replace(
        state, policy=replace(state.policy, floor=floor, strategy=draw(st.sampled_from(STRATEGIES)))
    )


@settings(max_examples=250, deadline=None)
@given(hosts(), groups())
def test_an_order_is_bid_on_if_there_is_any_way_to_serve_it_at_its_price(
    state: AgentState, of: GroupSpec
) -> None:
    check(state, of)


@settings(max_examples=250, deadline=None)
@given(hosts_with_a_floor(), groups())
def test_an_order_that_pays_exactly_the_least_price_above_cost_is_bid_on_and_no_other(
    state: AgentState, of: GroupSpec
) -> None:
    check(state, of)
    quotes = [quoting.quote(sale, state.policy) for sale in sales_of(state, paying(of, Decimal(10**6)))]
    least = min((least_of(quote, state) for quote in quotes if not isinstance(quote, Refused)), default=None)
    if least is not None:
        verdict = decide(order(1, paying(of, least)), state, START).verdict
        assert isinstance(verdict, Accepted)
        check(state, paying(of, least - Decimal("0.001")))


def least_of(quote: Quote, state: AgentState) -> Decimal:
    """What is made by what wins goes down to the cost."""
    is_learned = state.policy.strategy is PriceStrategy.MARKET
    return quote.floor.amount if is_learned and quote.floor is not None else quote.rate.amount


def paying(of: GroupSpec, amount: Decimal) -> GroupSpec:
    """``of``, for ``amount`` or hardly more in all, nearly all of it for the first service."""
    first, *others = of.units
    digit = Decimal("1e-18")
    its_own = ((amount - digit * sum(each.count for each in others)) / first.count).quantize(digit, ROUND_UP)
    prices = (its_own, *(digit for _ in others))
    units = (
        replace(each, price=replace(each.price, amount=price))
        for each, price in zip(of.units, prices, strict=True)
    )
    return replace(of, units=tuple(units))


def check(state: AgentState, of: GroupSpec) -> None:
    """What is decided, against every way there is."""
    sales = sales_of(state, of)
    pays = any(not isinstance(quoting.quote(sale, state.policy), Refused) for sale in sales)
    verdict = decide(order(1, of), state, START).verdict
    assert isinstance(verdict, Accepted) is pays
    if isinstance(verdict, Refused):
        assert (verdict.why in FOR_THE_PRICE) is bool(sales), "where it fits, it is for the price"


def sales_of(state: AgentState, of: GroupSpec) -> list[quoting.Sale]:
    """One for each set of cards that serves all of ``of``."""
    (node,) = state.nodes
    left = free(state, node)
    demands = [
        (each.resources.gpu.units, left.topology.fitting(each.resources.gpu))
        for each in of.units
        for _ in range(each.count)
        if each.resources.gpu.units
    ]
    sold = (tuple(node.gpus[card] for card in numbers(way)) for way in set(every_way(demands, left.biddable)))
    return [quoting.Sale(group=of, gpus=gpus, node=node, at=START) for gpus in sold]
