"""Rules that the operator sets: for whom, for what, how often, and not before the machine is worked on.

Each is a function of ``admission.RULES``. Refusals that only time cures name the instant at which it has
(``again_at``), so that the orders are looked at again then and not before.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from provider.core import bid_deposits, hostnames
from provider.core.claims import is_among
from provider.core.maintenance import in_the_way, spoken
from provider.core.order_filter import found
from provider.core.state import AgentState
from provider.domain.market import Order, Refusal, Refused
from provider.domain.moment import MINUTE, Instant, Span, after, rfc3339, spelled
from provider.domain.resources import Attribute

GPUS_MOST, REPLICAS_MOST, UNITS_MOST = 24, 50, 20
"""Of a replica, a unit, a group: what Akash's network allows (``validation_config.go`` of chain-sdk)."""
CURED_BY_TIME = frozenset({Refusal.BID_BUDGET_SPENT, Refusal.MAINTENANCE_NEAR})


def is_valid(order: Order, _state: AgentState, _at: Instant) -> Refused | None:
    """Whatever the market let pass: an order that cannot mean anything is nobody's to serve."""
    problem = _problem(order)
    return Refused(why=Refusal.ORDER_INVALID, available=problem) if problem else None


def _problem(order: Order) -> str:
    units = order.group.units
    if not 0 < len(units) <= UNITS_MOST:
        return f"{len(units)} resource units"
    if len({unit.resources.id for unit in units}) < len(units):
        return "two resource units of one number"
    if len({unit.price.denom for unit in units}) > 1:
        return "prices in several currencies"
    for unit in units:
        resources, name = unit.resources, f"unit {unit.resources.id}"
        if not 0 < unit.count <= REPLICAS_MOST:
            return f"{name}: {unit.count} replicas"
        if resources.cpu_millis <= 0 or resources.memory_bytes <= 0:
            return f"{name}: no CPU or no memory"
        if not 0 <= resources.gpu.units <= GPUS_MOST or bool(resources.gpu.units) != bool(
            resources.gpu.alternatives
        ):
            return f"{name}: {resources.gpu.units} GPUs of {len(resources.gpu.alternatives)} kinds"
        if any(volume.size_bytes <= 0 for volume in resources.storage):
            return f"{name}: a volume without a size"
    return ""


def owner(order: Order, state: AgentState, _at: Instant) -> Refused | None:
    name, policy = order.id.owner, state.policy.bids
    denied = [pattern for pattern in policy.owners_deny if fnmatchcase(name, pattern)]
    if denied:
        return Refused(why=Refusal.OWNER_NOT_SERVED, required=f"not {denied[0]}", available=name)
    if policy.owners_allow and not any(fnmatchcase(name, pattern) for pattern in policy.owners_allow):
        return Refused(
            why=Refusal.OWNER_NOT_SERVED, required=" or ".join(policy.owners_allow), available=name
        )
    return None


def conditions(order: Order, state: AgentState, _at: Instant) -> Refused | None:
    for each in state.policy.bids.conditions:
        instead = found(each, order)
        if instead is not None:
            return Refused(why=Refusal.ORDER_FILTERED, required=str(each), available=instead)
    return None


def auditors(order: Order, state: AgentState, at: Instant) -> Refused | None:
    """Where an order names auditors, what they signed counts, and not what this provider says of itself."""
    requirements, audited = order.group.requirements, state.policy.bids.audited
    if not requirements.signed_by.names_somebody:
        return None

    def lacks(auditor: str) -> str | None:
        said = audited.get(auditor)
        if said is None:
            return f"{auditor} has signed nothing of this provider"
        if said.expires_at is not None and said.expires_at <= at:
            return f"what {auditor} signed expired at {rfc3339(said.expires_at)}"
        missing = [each for each in requirements.attributes if not is_among(each, said.attributes)]
        return f"{auditor} has not signed {_text(missing[0])}" if missing else None

    all_of, any_of = requirements.signed_by.all_of or (), requirements.signed_by.any_of or ()
    for auditor in all_of:
        problem = lacks(auditor)
        if problem:
            return Refused(
                why=Refusal.AUDITORS_NOT_MET, required=f"all of {', '.join(all_of)}", available=problem
            )
    problems = [lacks(auditor) for auditor in any_of]
    if any_of and all(problems):
        return Refused(
            why=Refusal.AUDITORS_NOT_MET, required=f"any of {', '.join(any_of)}", available=str(problems[0])
        )
    return None


def _text(attribute: Attribute) -> str:
    return f"{attribute.key}={attribute.value}"


def volumes(order: Order, state: AgentState, _at: Instant) -> Refused | None:
    most = state.policy.bids.volumes_most
    for unit in order.group.units:
        if len(unit.resources.storage) > most:
            count = len(unit.resources.storage)
            return Refused(
                why=Refusal.VOLUMES_TOO_MANY, required=f"{count} volumes a replica", available=f"{most}"
            )
    return None


def notice(order: Order, state: AgentState, _at: Instant) -> Refused | None:
    """What an order wants to be told ahead is promised, or it is not bid on."""
    wanted, promised = order.group.requirements.notice, state.policy.bids.notice
    if wanted is None or wanted <= promised:
        return None
    return Refused(why=Refusal.NOTICE_TOO_SHORT, required=spelled(wanted), available=spelled(promised))


def host_names(order: Order, state: AgentState, _at: Instant) -> Refused | None:
    """Names that its manifest would be refused for. An order that tells none is bid on all the same."""
    return hostnames.unavailable(state, order) if order.group.hostnames else None


def maintenance(_order: Order, state: AgentState, at: Instant) -> Refused | None:
    """A lease that begins now, or when the bid is taken at last, could reach into a window."""
    windows = state.policy.bids.maintenance
    window = in_the_way(windows, at, _ahead(state)) if windows else None
    if window is None:
        return None
    return Refused(why=Refusal.MAINTENANCE_NEAR, available=f"maintenance from {spoken(window)}")


def _ahead(state: AgentState) -> Span:
    policy = state.policy.bids
    return Span(max(policy.maintenance_ahead, policy.notice) + state.policy.bid_lifetime)


def bid_rate(_order: Order, state: AgentState, at: Instant) -> Refused | None:
    most = state.policy.bids.bids_per_minute
    if most and len(_recent(state, at)) >= most:
        return Refused(
            why=Refusal.BID_BUDGET_SPENT, required="one bid more", available=f"{most} bids a minute"
        )
    return None


def open_bids(_order: Order, state: AgentState, _at: Instant) -> Refused | None:
    most = state.policy.bids.open_bids_most
    if most and len(state.bids) >= most:
        return Refused(
            why=Refusal.OPEN_BIDS_SPENT, required="one bid more", available=f"{most} open bids at once"
        )
    return None


def deposits(order: Order, state: AgentState, _at: Instant) -> Refused | None:
    """No more of the operator's money is with markets than the operator wants."""
    budget = state.policy.bids.deposit_budget
    return None if budget is None else bid_deposits.refusal(order, state, budget)


def _recent(state: AgentState, at: Instant) -> tuple[Instant, ...]:
    return tuple(made for made in state.bid_times if made > at - MINUTE)


def bid_times(state: AgentState, at: Instant) -> tuple[Instant, ...]:
    """When bids were made in the last minute, one at ``at`` among them; nothing where nobody counts them."""
    return (*_recent(state, at), at) if state.policy.bids.bids_per_minute else ()


def again_at(why: Refusal, state: AgentState, at: Instant) -> Instant | None:
    """When time will have cured ``why``; None where it does not."""
    if why is Refusal.BID_BUDGET_SPENT:
        recent = _recent(state, at)
        return after(recent[0], MINUTE) if recent else None
    if why is Refusal.MAINTENANCE_NEAR:
        window = in_the_way(state.policy.bids.maintenance, at, _ahead(state))
        return window[1] if window is not None else None
    return None
