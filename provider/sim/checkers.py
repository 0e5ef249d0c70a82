"""The promises (DESIGN section 4) as checkers of a simulated world: each small, each raises ``Broken``.

Most look at one step of an agent or of the market; those whose names speak of what is leased, ended or left
look at a world that had time to converge. When each is asked is ``world.py``'s. Promise 8 is the runtime's,
and 9 is in the values of every refusal: both are tested where they live.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from provider.coordinator.book import Book
from provider.coordinator.record import RecordEntry, verify
from provider.coordinator.rows import LeaseRow, LeaseState
from provider.core.effects import ConfirmLease, EndLease, ReportUsage, StartWorkload
from provider.core.events import Event, Performed
from provider.core.health import health_of, worst
from provider.core.lease import Phase
from provider.core.metering import YOUNG
from provider.core.state import AgentState, holdings, sum_of_holdings
from provider.core.step import LeaseClosed, LeaseMoved, Step
from provider.domain.gpu import GpuHealth
from provider.domain.ids import GpuUuid, LeaseId, MarketId, OrderId, ProviderId
from provider.domain.market import CloseReason
from provider.domain.money import Denom, earned
from provider.shell.sources import LIST_EVERY
from provider.sim.world_agent import WorldAgent
from provider.sim.world_market import WorldMarket
from provider.sim.world_tenant import Kind, Tenant


class Broken(AssertionError):
    """A promise was not kept."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


@dataclass(slots=True)
class Witness:
    """What checkers remember from step to step."""

    begun: Counter[LeaseId] = field(default_factory=Counter)
    closed: dict[LeaseId, CloseReason] = field(default_factory=dict)
    failed_gpus: set[GpuUuid] = field(default_factory=set)
    """Cards that a disaster hit."""
    deaths: Counter[LeaseId] = field(default_factory=Counter)
    """Containers' ends that a disaster or the image itself caused."""


# --- 1: a GPU is in at most one live lease


def gpus_are_held_once(state: AgentState) -> None:
    """By leases; by bids as often as their operator lets them overlap, and by no bid beside a lease."""
    placements = [bid.placement for bid in state.bids.values()]
    placements += [lease.placement for lease in state.leases.values()]
    ports = Counter((placement.node, port) for placement in placements for port in placement.host_ports)
    leased = Counter(uuid for lease in state.leases.values() for uuid in lease.placement.gpus)
    in_bids = Counter(uuid for bid in state.bids.values() for uuid in bid.placement.gpus)
    require(max(leased.values(), default=0) <= 1, f"a GPU is leased twice: {leased}")
    require(not leased.keys() & in_bids.keys(), f"a GPU is leased and in a bid: {leased} {in_bids}")
    most = state.policy.bids.overbid
    require(max(in_bids.values(), default=0) <= most, f"a GPU is in too many bids: {in_bids}")
    require(max(ports.values(), default=0) <= 1, f"a port is held twice: {ports}")


def holdings_are_the_sum(state: AgentState) -> None:
    require(holdings(state) == sum_of_holdings(state), f"{holdings(state)} is not what is held")


def nothing_is_held(agent: WorldAgent) -> None:
    """Reservations return to zero, in what the agent keeps as in what it stored."""
    stored, _ = agent.stored
    require(holdings(stored) == {}, f"{agent.provider} still holds {holdings(stored)}")
    if agent.state is not None:
        require(holdings(agent.state) == {}, f"{agent.provider} still keeps {holdings(agent.state)}")


def gpus_run_for_one(agent: WorldAgent, effect: StartWorkload) -> None:
    wanted = {uuid for replica in effect.launch.replicas for uuid in replica.gpus}
    for lease, running in agent.engine.leases.items():
        shared = wanted & running.gpus
        require(lease == effect.launch.lease or not shared, f"{effect.launch.lease} and {lease} on {shared}")


def the_idle_job_yields(step: Step) -> None:
    """It is started on no card that a lease has or that is not well, and not while it drains; no lease is
    started on a card where it is."""
    state = step.state
    leased = {uuid for lease in state.leases.values() for uuid in lease.placement.gpus}
    well = {gpu.uuid for node in state.nodes for gpu in node.gpus if gpu.health is GpuHealth.HEALTHY}
    for effect in step.effects:
        if isinstance(effect, StartWorkload):
            launch = effect.launch
            gpus = {uuid for replica in launch.replicas for uuid in replica.gpus}
            if launch.lease.is_idle:
                require(gpus <= well - leased, f"the idle job is started on {gpus}")
                require(not state.is_draining, "the idle job is started while it drains")
            else:
                on = {uuid for uuid in gpus if uuid in state.idle and state.idle[uuid].is_on}
                require(not on, f"{launch.lease} starts on {on}, where the idle job is")


def nothing_sick_is_sold(step: Step) -> None:
    """No bid stands on a card that is not well, no lease begins on one, none starts on one that failed."""
    known = {gpu.uuid: gpu.health for node in step.state.nodes for gpu in node.gpus}
    for uuid, record in step.state.gpu_records.items():
        known[uuid] = worst(known.get(uuid, GpuHealth.HEALTHY), health_of(record))
    sold = [(bid.bid.id, bid.placement) for bid in step.state.bids.values()]
    for effect in step.effects:
        if isinstance(effect, StartWorkload) and not effect.launch.lease.is_idle:
            lease = step.state.leases[effect.launch.lease]
            failed = [each for each in lease.placement.gpus if known.get(each) is GpuHealth.UNHEALTHY]
            require(not failed, f"{lease.id} starts on {failed}, which failed")
    for note in step.notes:
        if isinstance(note, LeaseMoved) and note.before is None:
            sold.append((note.lease, step.state.leases[note.lease].placement))
    for lease_id, placement in sold:
        healths = {each: known.get(each, GpuHealth.HEALTHY) for each in placement.gpus}
        sick = [each for each, health in healths.items() if health is not GpuHealth.HEALTHY]
        require(not sick, f"{lease_id} has {sick}, which is not well")


def only_the_sick_are_given_up(step: Step) -> None:
    """No lease on a card that works is ended for its GPU."""
    failed = {gpu.uuid for node in step.state.nodes for gpu in node.gpus if gpu.health is GpuHealth.UNHEALTHY}
    for effect in step.effects:
        if isinstance(effect, EndLease) and effect.reason is CloseReason.GPU_FAILED:
            held = step.state.leases[effect.lease].placement.gpus
            require(bool(failed.intersection(held)), f"{effect.lease} is ended for {held}, which work")


# --- 2: nothing runs without a live lease, nothing live goes unrepaired


def what_runs_is_leased(agent: WorldAgent, markets: Sequence[WorldMarket]) -> None:
    state, _ = agent.stored
    active = {
        row.id.within(market.id)
        for market in markets
        for row in market.book.leases.values()
        if row.id.provider == agent.name_in(market.id) and row.state is LeaseState.ACTIVE
    }
    require(set(state.leases) == active, f"{agent.provider} has {set(state.leases)}, the markets {active}")
    served = {lease.id for lease in state.leases.values() if lease.manifest is not None}
    running = {lease for lease in agent.engine.leases if not lease.is_idle}
    require(running <= served, f"orphans at {agent.provider}: {running}")


def the_idle_job_is_on(agent: WorldAgent, expected: Iterable[GpuUuid]) -> None:
    """On ``expected`` cards and no others, once on each; what it leaves behind is nothing."""
    there = [running for lease, running in agent.engine.leases.items() if lease.is_idle]
    on = sorted(uuid for running in there for uuid in running.gpus)
    require(on == sorted(expected), f"the idle job of {agent.provider} is on {on}, not on {sorted(expected)}")
    state, _ = agent.stored
    known = sorted(uuid for uuid, run in state.idle.items() if run.is_on)
    require(known == on, f"{agent.provider} believes the idle job on {known}, and it is on {on}")


def what_is_leased_runs(agent: WorldAgent, steady: frozenset[LeaseId]) -> None:
    state, _ = agent.stored
    for lease in state.leases.values():
        if lease.id in steady and lease.manifest is not None:
            require(lease.phase is Phase.RUNNING, f"{lease.id} is {lease.phase}: {lease.detail}")
            running = agent.engine.leases.get(lease.id)
            require(running is not None and running.ended_at is None, f"{lease.id} does not run")


# --- 3: money


def money_is_conserved(before: Book, book: Book) -> None:
    ledger = book.ledger
    require(all(amount >= 0 for amount in ledger.balances.values()), "an account is negative")
    for denom in Denom:
        held = sum(ledger.balances[account] for account in ledger.balances if account.denom is denom)
        require(held == (ledger.issued.get(denom) or 0), f"{held}{denom} of {ledger.issued.get(denom)}")
    for row in before.leases.values():
        after = book.leases[row.id.order]
        require(after.settled >= row.settled, f"{row.id}: what was settled falls")
        require(after.running_ms >= row.running_ms, f"{row.id}: what was billed falls")


def bills_are_of_what_ran(agent: WorldAgent, market: WorldMarket, row: LeaseRow) -> None:
    """An end may be billed up to a look's age beyond what nobody could see any more."""
    ran_ms = agent.engine.ran_ms(row.id.within(market.id), agent.now())
    require(row.running_ms <= ran_ms + YOUNG, f"{row.id}: billed {row.running_ms} ms, ran {ran_ms}")
    require(row.settled <= earned(row.rate, row.running_ms).amount, f"{row.id}: settled more than earned")


def what_ran_was_billed(agent: WorldAgent, market: MarketId, row: LeaseRow, witness: Witness) -> None:
    """Of a lease that ended in peace, but for what nobody saw of runs that vanished without a trace."""
    lease = row.id.within(market)
    ran_ms = agent.engine.ran_ms(lease, agent.now())
    require(row.usage_final, f"{lease}: its last usage never came")
    unseen_ms = (LIST_EVERY + YOUNG) * witness.deaths[lease] + LIST_EVERY
    require(row.running_ms >= ran_ms - unseen_ms, f"{lease}: billed {row.running_ms} ms, ran {ran_ms}")


def reports_are_of_what_ran(agent: WorldAgent, step: Step) -> None:
    """While it goes on, not one millisecond is billed in which it did not run."""
    for effect in step.effects:
        if isinstance(effect, ReportUsage) and not effect.usage.is_final:
            ran_ms = agent.engine.ran_ms(effect.usage.lease, agent.now())
            require(effect.usage.running_ms <= ran_ms, f"{effect.usage} of {ran_ms} ms")


# --- 4: what was acknowledged is never lost


def answers_were_kept(event: Event, markets: Sequence[WorldMarket]) -> None:
    books = {market.id: market.book for market in markets}
    match event:
        case Performed(effect=ReportUsage(usage=usage)):
            row = books[usage.lease.market].lease(usage.lease.as_told)
            kept = row is not None and (row.usage_number >= usage.number or row.state is LeaseState.CLOSED)
            require(kept, f"{usage} was acknowledged and is not there")
        case Performed(effect=ConfirmLease(lease=lease)):
            book, told = books[lease.market], lease.as_told
            bid = book.bid(told)
            ended = bid is None or bid.ended is not None or book.lease(told) is not None
            require(ended, f"{lease} was confirmed and is neither a lease nor lost")
        case _:
            pass


def nothing_is_left_to_do(agent: WorldAgent) -> None:
    _, unfinished = agent.stored
    require(unfinished == (), f"{agent.provider} still has to do {unfinished}")


# --- 5: every lease ends with exactly one reason


def remember_ends(witness: Witness, step: Step) -> None:
    for note in step.notes:
        match note:
            case LeaseMoved(lease=lease, before=None):
                witness.begun[lease] += 1
                require(witness.begun[lease] == 1, f"{lease} begins twice")
            case LeaseClosed(lease=lease, reason=reason):
                require(lease not in witness.closed, f"{lease} closes twice")
                witness.closed[lease] = reason
            case _:
                pass


def every_lease_ended_once(market: WorldMarket, witness: Witness) -> None:
    book, records = market.book, market.records
    require(verify(records) is None, f"the record is broken: {verify(records)}")
    told = Counter((str(body["event"]), json.dumps(body["lease"])) for body in map(_body, records))
    require(max(told.values(), default=0) <= 1, "the record tells something twice")
    for row in book.leases.values():
        require(row.state is LeaseState.CLOSED, f"{row.id} is {row.state}")
        require(row.reason is not None, f"{row.id} ended without a reason")
        require(row.id.within(market.id) in witness.closed, f"{row.id} never closed at its provider")
    kinds = Counter(event for event, _ in told)
    for event in ("lease_opened", "lease_closed", "lease_settled"):
        require(kinds[event] == len(book.leases), "each lease opens, closes and is settled")


def what_began_has_closed(witness: Witness) -> None:
    require(set(witness.begun) == set(witness.closed), "a lease that began has not closed")


def _body(entry: RecordEntry) -> dict[str, object]:
    body: dict[str, object] = json.loads(entry.body_json)
    return body


# --- 6: what runs is what was ordered


def what_starts_was_ordered(agent: WorldAgent, effect: StartWorkload, tenants: dict[OrderId, Tenant]) -> None:
    state, launch = agent.state, effect.launch
    wish = tenants[launch.lease.order].wish
    if state is None or launch.lease not in state.leases:
        return
    lease = state.leases[launch.lease]
    hashes = {wish.manifest_hash, wish.newer_hash} if wish.updates else {wish.manifest_hash}
    require(lease.manifest_hash in hashes, f"{lease.id} runs another manifest")
    is_newer = lease.current is not None and lease.current.manifest_hash == wish.newer_hash
    manifest = wish.newer_manifest if is_newer else wish.manifest
    require(len(launch.replicas) == wish.replicas, f"{lease.id} runs {len(launch.replicas)} replicas")
    for replica in launch.replicas:
        require(len(replica.gpus) == wish.gpus, f"{lease.id} has {replica.gpus}")
        require((replica.service,) == manifest.groups[0].services, f"{lease.id} runs {replica.service}")
    gpus = tuple(uuid for replica in launch.replicas for uuid in replica.gpus)
    require(gpus == lease.placement.gpus, f"{lease.id} runs on {gpus}, placed on {lease.placement.gpus}")


def what_is_ordered_is_known(agent: WorldAgent, markets: Sequence[WorldMarket]) -> None:
    """Whatever was lost on the way, each lease's provider has heard of its newest manifest, and runs that one
    unless it had to take it back."""
    state, _ = agent.stored
    books = {market.id: market.book for market in markets}
    for lease in state.leases.values():
        ordered = books[lease.id.market].orders[lease.id.order.as_told].order.manifest_hash
        require(lease.manifest_hash == ordered, f"{lease.id} was never told of its update")
        runs = lease.current.manifest_hash if lease.current else ordered
        require(runs == ordered or bool(lease.update_problem), f"{lease.id} runs {runs}, not {ordered}")


# --- 5 and 7: nothing but a cause of its own ends a lease; blindness is none


def ends_have_causes(market: WorldMarket, tenants: dict[OrderId, Tenant], witness: Witness) -> None:
    for row in market.book.leases.values():
        if row.reason is not None:
            lease = row.id.within(market.id)
            tenant = tenants[lease.order]
            caused = _is_caused(row, tenant, witness.deaths[lease], witness)
            require(caused, f"{lease} ({tenant.wish.kind}) {row.reason}")


def _is_caused(row: LeaseRow, tenant: Tenant, deaths: int, witness: Witness) -> bool:
    kind = tenant.wish.kind
    match row.reason:
        case CloseReason.TENANT_CLOSED:
            return tenant.has_closed
        case CloseReason.FUNDS_EXHAUSTED:
            return kind is Kind.POOR
        case CloseReason.MANIFEST_TIMEOUT:
            return kind is Kind.SILENT
        case CloseReason.IMAGE_UNAVAILABLE:
            return kind is Kind.MISSING
        case CloseReason.WORKLOAD_REFUSED:
            return kind is Kind.REFUSED
        case CloseReason.WORKLOAD_UNSTABLE:
            return deaths >= 6
        case CloseReason.GPU_FAILED:
            return any(str(uuid) in row.detail for uuid in witness.failed_gpus)
        case _:
            return False


def provider_of(agents: Sequence[WorldAgent], market: MarketId, provider: ProviderId) -> WorldAgent:
    """Whom ``market`` calls so."""
    return next(agent for agent in agents if agent.name_in(market) == provider)
