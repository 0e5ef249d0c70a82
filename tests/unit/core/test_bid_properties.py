"""What holds of every decision, whatever the machine, what is held of it and what is asked."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from provider.core.admission import Accepted, consider, decide
from provider.core.agent import transition
from provider.core.bid_policy import BidPolicy, Overcommit
from provider.core.cards import fits
from provider.core.events import LeaseAwarded, OrderClosed, OrderOpened
from provider.core.floor import WEEK_HOURS
from provider.core.needs import need
from provider.core.policy import Policy, PriceFloor, PriceStrategy
from provider.core.state import AgentState, sum_of_holdings
from provider.domain.gpu import Gpu, GpuHealth, GpuInventory
from provider.domain.ids import GpuUuid, NodeName
from provider.domain.market import Award, GroupSpec, Order
from provider.domain.node import HostCapacity, Node
from provider.domain.resources import GIB, GpuAlternative, GpuAsk, Resources, ResourceUnit, Volume
from tests import boxes
from tests.agents import CAPABLE, HASH, HTTP, POLICY, PROVIDER, START, order, rate

PRICES = replace(
    POLICY.price,
    gpu_hour={"h100": Decimal(9_000), "a100": Decimal(6_000), "rtx4090": Decimal(1_200), "*": Decimal(3_000)},
)
BOXES = (boxes.hgx_h100, boxes.four_4090, boxes.bridged_a100, boxes.dgx_a100_with_mig, boxes.mixed)
ANY = GpuAlternative(vendor="nvidia")
KINDS = (
    (ANY,),
    (GpuAlternative(vendor="nvidia", model="h100"),),
    (GpuAlternative(vendor="nvidia", model="a100"), GpuAlternative(vendor="nvidia", model="h100")),
    (GpuAlternative(vendor="nvidia", model="rtx4090", ram="24Gi"),),
    (GpuAlternative(vendor="nvidia", ram="40Gi"),),
    (GpuAlternative(vendor="nvidia", ram="10Gi"),),
)


@st.composite
def nodes(draw: st.DrawFn, name: str = "one") -> Node:
    inventory = draw(st.sampled_from(BOXES))()
    sick = draw(st.sets(st.integers(0, len(inventory.gpus) - 1), max_size=3))
    gpus = tuple(
        replace(
            gpu,
            uuid=GpuUuid(f"{gpu.uuid}@{name}"),
            health=GpuHealth.DEGRADED if number in sick else gpu.health,
        )
        for number, gpu in enumerate(inventory.gpus)
        if gpu.mig is None
    ) + tuple(
        replace(
            gpu,
            uuid=GpuUuid(f"{gpu.uuid}@{name}"),
            mig=replace(gpu.mig, parent=GpuUuid(f"{gpu.mig.parent}@{name}")),
        )
        for gpu in inventory.gpus
        if gpu.mig is not None
    )
    links = tuple(
        replace(link, first=GpuUuid(f"{link.first}@{name}"), second=GpuUuid(f"{link.second}@{name}"))
        for link in inventory.links
    )
    capacity = HostCapacity(
        cpu_millis=draw(st.sampled_from((0, 4, 12, 24))) * 1_000,
        memory_bytes=draw(st.integers(0, 24)) * GIB,
        storage_bytes=draw(st.sampled_from((4, 64, 256))) * GIB,
        boot_id="boot",
    )
    return Node(
        name=NodeName(name),
        capacity=capacity,
        inventory=GpuInventory(gpus=gpus, links=links),
        busy_ports=frozenset(draw(st.sets(st.integers(31000, 31009), max_size=4))),
    )


@st.composite
def groups(draw: st.DrawFn) -> GroupSpec:
    units = []
    for number in range(1, draw(st.integers(1, 2)) + 1):
        gpus = draw(st.integers(0, 4))
        asked = GpuAsk(units=gpus, alternatives=draw(st.sampled_from(KINDS)) if gpus else ())
        resources = Resources(
            id=number,
            cpu_millis=draw(st.sampled_from((100, 500, 2_000))),
            memory_bytes=draw(st.sampled_from((GIB // 2, GIB, 4 * GIB))),
            gpu=asked,
            storage=(Volume(name="default", size_bytes=draw(st.integers(1, 8)) * GIB),),
            endpoints=(HTTP,) * draw(st.integers(0, 2)),
        )
        price = rate(draw(st.sampled_from(("1", "5", "20", "1000"))))
        units.append(ResourceUnit(resources=resources, count=draw(st.integers(1, 2)), price=price))
    return GroupSpec(name="web", units=tuple(units))


policies = st.builds(
    lambda cpu, memory, overbid: replace(
        POLICY,
        price=PRICES,
        bids=BidPolicy(overcommit=Overcommit(cpu=Decimal(cpu), memory=Decimal(memory)), overbid=overbid),
    ),
    st.sampled_from(("1", "1.5")),
    st.sampled_from(("1", "2")),
    st.sampled_from((1, 1, 2)),
)


def opened(state: AgentState, asked: Order, version: int) -> AgentState:
    return transition(state, OrderOpened(order=asked, version=version), START).state


def check(state: AgentState) -> None:
    """Never over capacity, never a card twice, never a sick one, each replica with what it asked for."""
    leased = Counter(uuid for lease in state.leases.values() for uuid in lease.placement.gpus)
    in_bids = Counter(uuid for bid in state.bids.values() for uuid in bid.placement.gpus)
    policy = state.policy.bids
    assert max(leased.values(), default=0) <= 1
    assert max(in_bids.values(), default=0) <= policy.overbid
    assert not leased.keys() & in_bids.keys()
    held = sum_of_holdings(state)
    assert state.holdings == held
    for there in state.nodes:
        now = held.get(there.name)
        if now is None:
            continue
        assert now.leases.cpu_millis <= there.capacity.cpu_millis * policy.overcommit.cpu
        assert now.leases.memory_bytes <= there.capacity.memory_bytes * policy.overcommit.memory
        assert sum(now.leases.storage.values()) <= there.capacity.storage_bytes
        if policy.overbid == 1:
            both = now.leases.cpu_millis + now.bids.cpu_millis
            assert both <= there.capacity.cpu_millis * policy.overcommit.cpu


def check_bid(state: AgentState, asked: Order, verdict: Accepted) -> None:
    """Of one that is about to be made."""
    placement = verdict.placement
    (there,) = [each for each in state.nodes if each.name == placement.node]
    cards: dict[GpuUuid, Gpu] = {gpu.uuid: gpu for gpu in there.gpus}
    asks = {unit.resources.id: unit.resources.gpu for unit in asked.group.units}
    assert len(set(placement.gpus)) == len(placement.gpus)
    for replica in placement.replicas:
        assert len(replica.gpus) == asks[replica.resources_id].units
        for uuid in replica.gpus:
            assert cards[uuid].health is GpuHealth.HEALTHY
            assert cards[uuid].mig is not None or not cards[uuid].is_mig_on
            assert fits(cards[uuid], asks[replica.resources_id])
    wanted = sorted((unit.resources.id, number) for unit in asked.group.units for number in range(unit.count))
    assert [(replica.resources_id, replica.replica) for replica in placement.replicas] == wanted
    assert len(placement.host_ports) == need(asked.group).ports
    assert not there.busy_ports & set(placement.host_ports)
    assert verdict.bid.rate.amount <= asked.group.max_rate.amount


moves = st.lists(st.tuples(groups(), st.sampled_from(("bid", "win", "lose"))), max_size=8)


@settings(max_examples=200)
@given(nodes(), nodes("two"), policies, moves, groups())
def test_decisions(
    one: Node, two: Node, policy: Policy, before: list[tuple[GroupSpec, str]], of: GroupSpec
) -> None:
    state = AgentState(policy=policy, nodes=(one,), runtime=CAPABLE)
    version = 0
    for number, (each, fate) in enumerate(before, start=1):
        asked = order(number, each)
        verdict = consider(asked, state, START)
        if isinstance(verdict, Accepted):
            check_bid(state, asked, verdict)
        state = opened(state, asked, version := version + 1)
        lease = asked.id.lease(PROVIDER)
        assert (lease in state.bids) is isinstance(verdict, Accepted)
        if fate == "lose":
            state = transition(
                state, OrderClosed(order=asked.id, version=(version := version + 1)), START
            ).state
        elif fate == "win" and lease in state.bids:
            award = Award(id=lease, rate=state.bids[lease].bid.rate, manifest_hash=HASH, confirm_by=START)
            state = transition(
                state, LeaseAwarded(award=award, version=(version := version + 1)), START
            ).state
            assert lease in state.leases
        check(state)
    asked = order(99, of)
    verdict = consider(asked, state, START)
    assert consider(asked, replace(state), START) == verdict, "the same state gives the same answer"
    if isinstance(verdict, Accepted):
        check_bid(state, asked, verdict)
        for more in larger(one, two):
            found = consider(asked, replace(state, nodes=more), START)
            assert isinstance(found, Accepted), f"more to sell, and {found}"


def larger(one: Node, two: Node) -> tuple[tuple[Node, ...], ...]:
    """The same machine with more of something, or another beside it."""
    capacity = one.capacity
    roomier = replace(one, capacity=replace(capacity, cpu_millis=capacity.cpu_millis + 1, memory_bytes=2**60))
    well = replace(
        one.inventory,
        gpus=tuple(replace(gpu, health=GpuHealth.HEALTHY) for gpu in one.gpus),
    )
    extra = boxes.card(len(one.gpus), "rtx4090")
    added = replace(one.inventory, gpus=(*one.gpus, replace(extra, uuid=GpuUuid("GPU-new"))))
    return (
        (one, two),
        (two, one),
        (roomier,),
        (replace(one, inventory=well),),
        (replace(one, inventory=added),),
        (replace(one, busy_ports=frozenset()),),
    )


cards_watts = {"h100": Decimal(700), "*": Decimal(300)}
floors = st.builds(
    lambda kwh, wear: PriceFloor(
        kwh_dearest=(Decimal(kwh),) * WEEK_HOURS, gpu_watts=cards_watts, wear_gpu_hour={"*": Decimal(wear)}
    ),
    st.sampled_from((100, 9_000)),
    st.sampled_from((0, 50)),
)
PLENTY = HostCapacity(cpu_millis=64_000, memory_bytes=512 * GIB, storage_bytes=4096 * GIB, boot_id="boot")
roomy = st.sampled_from(BOXES).map(
    lambda box: Node(name=NodeName("one"), capacity=PLENTY, inventory=box(), busy_ports=frozenset())
)
changes = st.one_of(
    st.tuples(st.just("nodes"), st.lists(nodes() | roomy, min_size=1, max_size=1)),
    st.tuples(st.just("cards"), st.integers(0, 7)),
    st.tuples(st.just("policy"), policies),
    st.tuples(st.just("price"), st.sampled_from((1, 3_000, 9_000))),
    st.tuples(st.just("floor"), st.none() | floors),
    st.tuples(st.just("strategy"), st.sampled_from((PriceStrategy.SCALE, PriceStrategy.MARKET))),
    st.tuples(st.just("disk"), st.sampled_from(("", "sda"))),
    st.tuples(st.just("order"), groups()),
)


def changed(state: AgentState, what: str, by: object) -> AgentState:
    """``state`` with one thing of it another, and all else the very same objects."""
    policy, (there, *_) = state.policy, state.nodes
    match what, by:
        case "nodes", [Node() as node]:
            return replace(state, nodes=(node,))
        case "cards", int(number):
            cards = tuple(
                replace(gpu, health=GpuHealth.DEGRADED) if gpu.index == number else gpu for gpu in there.gpus
            )
            return replace(state, nodes=(replace(there, inventory=replace(there.inventory, gpus=cards)),))
        case "policy", Policy():
            return replace(state, policy=by)
        case "price", int(dear):
            prices = replace(policy.price, gpu_hour={"*": Decimal(dear), "a100": Decimal(6_000)})
            return replace(state, policy=replace(policy, price=prices))
        case "floor", PriceFloor() | None:
            return replace(state, policy=replace(policy, floor=by))
        case "strategy", PriceStrategy():
            return replace(state, policy=replace(policy, strategy=by))
        case "disk", str(disk):
            return replace(state, runtime=replace(CAPABLE, layers_disk=disk))
        case _:
            raise AssertionError(what)


@settings(max_examples=60, deadline=None)
@given(roomy, policies, st.lists(groups(), min_size=1, max_size=3), st.lists(changes, max_size=8))
def test_what_is_remembered_is_what_would_be_found(
    there: Node, policy: Policy, asked: list[GroupSpec], happens: list[tuple[str, object]]
) -> None:
    """A copy of everything is nothing that a decision has seen: what it comes to is worked out afresh."""
    state = AgentState(policy=policy, nodes=(there,), runtime=CAPABLE)
    orders = [order(1_000 + number, group) for number, group in enumerate(asked)]
    for version, (what, by) in enumerate([("order", asked[0]), *happens], start=1):
        if isinstance(by, GroupSpec):
            state = opened(state, order(version, by), version)
        else:
            state = changed(state, what, by)
        for each in orders:
            assert decide(each, state, START) == decide(deepcopy(each), deepcopy(state), START), what
