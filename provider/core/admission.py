"""Whether to bid on an order: small rules in a fixed order, each a reason or nothing.

Cheap and semantic rules come first, capacity and price last, so that the reason given is the one a
person would give. A refusal is a value with its facts, never an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from provider.core import order_rules, quoting
from provider.core.claims import facts, is_met
from provider.core.health import host_problem
from provider.core.learning import Lesson, kind_of
from provider.core.placement import Pick, picks
from provider.core.remembered import by_identity
from provider.core.state import AgentState
from provider.domain.gpu import Gpu
from provider.domain.gpu_health import GpuRecord
from provider.domain.ids import GpuUuid
from provider.domain.market import Bid, GpuOffer, Order, Placement, Refusal, Refused
from provider.domain.moment import Instant
from provider.domain.money import Rate
from provider.domain.node import Node
from provider.domain.price import PricePart, Quote
from provider.domain.resources import EndpointKind
from provider.domain.workload import GpuAttachment

Rule = Callable[[Order, AgentState, Instant], Refused | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A bid to place and exactly what it stands for."""

    bid: Bid
    placement: Placement
    parts: tuple[PricePart, ...] = ()
    """Of the price, as they are added up."""
    floor: Rate | None = None
    """Below which the bid would lose money; None where the operator set none."""
    costs: tuple[PricePart, ...] = ()
    """Of the floor."""
    is_asking: bool = False
    """Its price is asked of somebody outside; ``bid.rate`` is the least that it can be."""
    lesson: Lesson | None = None
    """What its outcome will teach of prices."""
    picked: str = ""
    """Why these cards and no others, one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict and the way to it."""

    verdict: Accepted | Refused
    passed: tuple[str, ...] = ()
    """Names of the rules that had nothing against it, in their order."""
    rule: str = ""
    """The one that refused."""

    @property
    def refused(self) -> Refused | None:
        return self.verdict if isinstance(self.verdict, Refused) else None

    @property
    def rate(self) -> Rate | None:
        return self.verdict.bid.rate if isinstance(self.verdict, Accepted) else None


CAPACITY, PRICE = "capacity", "price"
"""The last two rules: where it would go, and for how much."""


def consider(order: Order, state: AgentState, at: Instant) -> Accepted | Refused:
    """The first rule's refusal, or the bid to place. What that costs depends on the hour: ``at``."""
    return decide(order, state, at).verdict


def decide(order: Order, state: AgentState, at: Instant) -> Decision:
    """What ``consider`` says, and which rules led there."""
    for number, rule in enumerate(RULES):
        refused = rule(order, state, at)
        if refused is not None:
            return Decision(verdict=refused, passed=RULE_NAMES[:number], rule=RULE_NAMES[number])
    return _placed(order, state, at)


def _placed(order: Order, state: AgentState, at: Instant) -> Decision:
    """The first place whose price the order pays, the best of each node before its cheaper ones."""
    nowhere: Refused | None = None
    too_dear: Refused | None = None
    for pick in picks(state, order.group, at):
        if isinstance(pick, Refused):
            nowhere = nowhere or pick
            continue
        verdict = _price(order, state, pick, at)
        if isinstance(verdict, Accepted):
            return Decision(verdict=verdict, passed=ALL_NAMES)
        too_dear = too_dear or verdict
    if too_dear is not None:
        return Decision(verdict=too_dear, passed=PLACED, rule=PRICE)
    assert nowhere is not None, "there is a reason where there is no place"
    return Decision(verdict=nowhere, passed=RULE_NAMES, rule=CAPACITY)


def _price(order: Order, state: AgentState, pick: Pick, at: Instant) -> Accepted | Refused:
    sale = quoting.Sale(group=order.group, gpus=pick.gpus, node=pick.node, at=at)
    quote = quoting.quote(sale, state.policy, state.curves)
    if isinstance(quote, Refused):
        return quote
    bid = Bid(
        id=order.id.lease(state.policy.name_in(order.id.market)), rate=quote.rate, gpus=_offer(*pick.gpus)
    )
    return Accepted(
        bid=bid,
        placement=pick.placement,
        parts=quote.parts,
        floor=quote.floor,
        costs=quote.costs,
        picked=pick.why,
        is_asking=state.policy.strategy.is_asked,
        lesson=_lesson(quote, pick.gpus),
    )


def _lesson(quote: Quote, gpus: tuple[Gpu, ...]) -> Lesson | None:
    """Prices by the list teach something, too."""
    if not quote.listed_hour:
        return None
    return Lesson(kind=kind_of(gpus), listed_hour=quote.listed_hour, asked_hour=quote.hour)


@by_identity(most=256)
def _offer(*gpus: Gpu) -> tuple[GpuOffer, ...]:
    """What the tenant is told of them, one line a kind."""
    counts: dict[tuple[str, int | None, str | None, bool], int] = {}
    for gpu in gpus:
        kind = (gpu.model, gpu.memory_bytes, gpu.interface, gpu.simulated)
        counts[kind] = counts.get(kind, 0) + 1
    return tuple(
        GpuOffer(model=model, count=count, memory_bytes=memory, interface=interface, simulated=simulated)
        for (model, memory, interface, simulated), count in counts.items()
    )


def _is_ready(_order: Order, state: AgentState, _at: Instant) -> Refused | None:
    if state.runtime is None or not state.nodes:
        return Refused(why=Refusal.NOT_BIDDING, required="a container engine", available="not reached yet")
    if state.is_draining:
        return Refused(why=Refusal.NOT_BIDDING, available="drained by its operator")
    stopped = _stopped(state.nodes, state.gpu_records)
    return Refused(why=Refusal.NOT_BIDDING, available=stopped) if stopped else None


@by_identity(most=16)
def _stopped(nodes: tuple[Node, ...], records: Mapping[GpuUuid, GpuRecord]) -> str:
    """Why nothing is to be sold on any node; empty where something may be."""
    problems = [host_problem(node, records) for node in nodes]
    return "; ".join(problem for problem in problems if problem) if all(problems) else ""


def _is_fit(order: Order, state: AgentState, _at: Instant) -> Refused | None:
    """Not with an engine through which a tenant gets at the host, unless the operator says so."""
    for each in state.runtime.unfit if state.runtime else ():
        if not each.is_allowed and (order.group.gpu_count or not each.only_for_gpus):
            return Refused(
                why=Refusal.RUNTIME_UNFIT,
                required=f"{each.part} {each.required} ({each.why})",
                available=each.found,
            )
    return None


def _denom(order: Order, state: AgentState, _at: Instant) -> Refused | None:
    denom = order.group.units[0].price.denom
    if denom in state.policy.denoms:
        return None
    return Refused(
        why=Refusal.DENOM_NOT_ACCEPTED, required=denom, available=", ".join(sorted(state.policy.denoms))
    )


def _attributes(order: Order, state: AgentState, _at: Instant) -> Refused | None:
    """What this provider says of itself, and facts; where auditors are named, theirs is the word."""
    if order.group.requirements.signed_by.names_somebody:
        return None
    for wanted in order.group.requirements.attributes:
        if not is_met(wanted, state):
            own = ", ".join(f"{ours.key}={ours.value}" for ours in state.policy.attributes) or "none"
            part = wanted.key.rpartition("/")[0]
            near = [fact for fact in facts(state) if part and fact.key.startswith(part)]
            have = ", ".join(f"{fact.key}={fact.value}" for fact in near) or own
            return Refused(
                why=Refusal.ATTRIBUTES_NOT_MET, required=f"{wanted.key}={wanted.value}", available=have
            )
    return None


def _endpoints(order: Order, _state: AgentState, _at: Instant) -> Refused | None:
    for unit in order.group.units:
        for endpoint in unit.resources.endpoints:
            if endpoint.kind is EndpointKind.LEASED_IP:
                return Refused(
                    why=Refusal.ENDPOINT_KIND_UNSUPPORTED, required="a leased IP", available="host ports"
                )
    return None


def _storage_classes(order: Order, state: AgentState, _at: Instant) -> Refused | None:
    """Persistent storage only of classes that are here: a class is a promise about the disk."""
    if state.runtime is None:
        return None
    for unit in order.group.units:
        for volume in unit.resources.storage:
            if not volume.is_persistent:
                continue
            offered = {each.name for each in state.runtime.storage_classes}
            if volume.storage_class not in offered:
                return Refused(
                    why=Refusal.STORAGE_CLASS_UNKNOWN,
                    required=f"persistent storage of class {volume.storage_class or 'default'}",
                    available=state.runtime.storage_problem or ", ".join(sorted(offered)) or "none",
                )
    return None


def _gpu_attachment(order: Order, state: AgentState, _at: Instant) -> Refused | None:
    if not order.group.gpu_count or state.runtime is None:
        return None
    if state.runtime.gpu_attachment is GpuAttachment.NONE:
        return Refused(
            why=Refusal.GPU_UNKNOWN,
            required=f"{order.group.gpu_count} GPUs",
            available=state.runtime.gpu_problem or "the engine cannot attach any",
        )
    return None


RULES: tuple[Rule, ...] = (
    _is_ready,
    order_rules.is_valid,
    order_rules.owner,
    order_rules.conditions,
    _is_fit,
    _denom,
    _attributes,
    order_rules.auditors,
    order_rules.notice,
    _endpoints,
    order_rules.host_names,
    order_rules.volumes,
    _storage_classes,
    _gpu_attachment,
    order_rules.maintenance,
    order_rules.bid_rate,
    order_rules.open_bids,
    order_rules.deposits,
)
RULE_NAMES = tuple(rule.__name__.strip("_").replace("_", " ") for rule in RULES)
"""As the ledger keeps them and ``provider why`` shows them."""
PLACED = (*RULE_NAMES, CAPACITY)
"""What an order has behind it that has a place."""
ALL_NAMES = (*PLACED, PRICE)
