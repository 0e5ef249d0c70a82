"""What happens to GPUs, and what follows for bids and leases.

Degraded: not placed, its open bids withdrawn, its lease lives. Unhealthy: its lease ends, the GPU named and
at fault. Some signals stop the whole host from bidding. Which is which is ``health``'s table.

Invariant: only what is known to be bad ends a lease: a GPU that cannot be seen is left alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from provider.core import bidding, error_counts, faults, idling, leasing, resets, xids
from provider.core.draft import Draft
from provider.core.events import GpuCordoned, GpuFaultSeen, GpuSignalsChanged, GpuUncordoned, NodesRead
from provider.core.gpu_records import OURS_ENDS, booted, change, holders, merge, put, record_of
from provider.core.health import ROW, host_problem, words
from provider.core.health_row import Action
from provider.core.state import AgentState, Lease
from provider.core.step import GpuFaulted
from provider.domain.gpu import GpuFault, GpuHealth
from provider.domain.gpu_health import ActiveSignal, GpuRecord, GpuSignal
from provider.domain.ids import GpuUuid
from provider.domain.market import CloseReason, Refusal, Refused
from provider.domain.moment import Instant

GpuEvent = NodesRead | GpuSignalsChanged | GpuFaultSeen | GpuCordoned | GpuUncordoned


def happened(draft: Draft, event: GpuEvent, at: Instant) -> None:
    """To all that there is, or to one GPU."""
    match event:
        case NodesRead():
            _read(draft, event, at)
        case GpuSignalsChanged():
            _signals_changed(draft, event, at)
        case GpuFaultSeen():
            _fault_seen(draft, event, at)
        case GpuCordoned():
            _cordon(draft, event, at)
        case GpuUncordoned():
            _uncordon(draft, event, at)
        case _:
            assert_never(event)


def _read(draft: Draft, event: NodesRead, at: Instant) -> None:
    """The inventory: reboots, cards that are lost. Ports come and go more often than all else, and a port
    that is free again is like one given back."""
    before = draft.state
    draft.state = replace(before, nodes_as_read=event.nodes, runtime=event.runtime)
    for node in event.nodes:
        booted(draft, node, at)
        for gpu in node.gpus:
            record = record_of(draft.state, gpu.uuid)
            if gpu.mig is None and not gpu.simulated and not record.is_expected:
                record = replace(record, is_expected=True)
                put(draft, record)
            if gpu.health is GpuHealth.UNHEALTHY:
                signal = GpuSignal.RESET_NEEDED if gpu.is_reset_needed else GpuSignal.GPU_LOST
                if not record.has(signal):
                    lost = ActiveSignal(signal=signal, since=at, detail=gpu.problem or "it cannot be used")
                    change(draft, record, at, raised=[lost])
    draft.freed = True
    _settle(draft, at)
    draft.capacity_changed = event.runtime != before.runtime or (
        [replace(node, busy_ports=frozenset()) for node in draft.state.nodes]
        != [replace(node, busy_ports=frozenset()) for node in before.nodes]
    )


def _signals_changed(draft: Draft, event: GpuSignalsChanged, at: Instant) -> None:
    """A look at a GPU found something new."""
    record = record_of(draft.state, event.gpu)
    if event.ecc_uncorrected is not None:
        record = replace(record, ecc_uncorrected=event.ecc_uncorrected)
    if event.ecc_corrected is not None:
        record = replace(record, ecc_corrected=event.ecc_corrected)
    if event.energy_joules is not None:
        record = replace(record, energy_joules=event.energy_joules)
    if event.is_reset:
        record = replace(record, reset_at=at)
    cleared = {signal: ROW[signal].cleared_by or resets.HOW for signal in event.cleared}
    change(draft, record, at, raised=event.raised, cleared=cleared)
    _settle(draft, at)


def _fault_seen(draft: Draft, event: GpuFaultSeen, at: Instant) -> None:
    """An Xid: counted, told to the lease whose it is, and held against the GPU where it should be."""
    fault = event.fault
    record = record_of(draft.state, fault.uuid)
    if event.is_old and faults.is_known(record, fault.xid, fault.at):
        return
    having = _having(draft.state, fault)
    lease = event.lease or (having.id if having else None)
    is_stopping = any(each.phase in OURS_ENDS for each in holders(draft.state, fault.uuid))
    is_stopping |= idling.is_stopping(draft.state, fault.uuid)
    if faults.is_ours(record, fault.xid, fault.at, is_stopping=is_stopping):
        return
    record = faults.remembered(record, fault.xid, fault.at, lease, event.count)
    put(draft, record)
    draft.note(
        GpuFaulted(
            gpu=fault.uuid,
            xid=fault.xid,
            kind=xids.xid_class(fault.xid),
            count=event.count,
            lease=lease,
            process=fault.process or (f"process {fault.pid}" if fault.pid else ""),
        )
    )
    raised = faults.raised_now(record, fault.xid, fault.at)
    change(
        draft,
        record,
        at,
        raised=[ActiveSignal(signal=signal, since=at, detail=detail) for signal, detail in raised.items()],
    )
    _settle(draft, at)


def _having(state: AgentState, fault: GpuFault) -> Lease | None:
    """The lease that has the GPU, or the instance of it that failed; None where it is not clear whose."""
    found = holders(state, fault.uuid)
    if fault.gpu_instance is not None:
        parts = {
            gpu.uuid
            for node in state.nodes_as_read
            for gpu in node.gpus
            if gpu.mig and gpu.mig.parent == fault.uuid and gpu.mig.gpu_instance == fault.gpu_instance
        }
        found = [lease for lease in found if parts.intersection(lease.placement.gpus)]
    return found[0] if len(found) == 1 else None


def _cordon(draft: Draft, event: GpuCordoned, at: Instant) -> None:
    """The operator takes a GPU out; a lease on it lives."""
    if not _is_known(draft.state, event.gpu):
        draft.refused = Refused(why=Refusal.GPU_UNKNOWN, required=event.gpu)
        return
    out = ActiveSignal(signal=GpuSignal.CORDONED, since=at, detail=event.why)
    change(draft, record_of(draft.state, event.gpu), at, raised=[out])
    _settle(draft, at)


def _uncordon(draft: Draft, event: GpuUncordoned, at: Instant) -> None:
    """The operator says that it is well. What is still so comes again at the next look; a card that is gone
    is not waited for any more."""
    if not _is_known(draft.state, event.gpu):
        draft.refused = Refused(why=Refusal.GPU_UNKNOWN, required=event.gpu)
        return
    known = record_of(draft.state, event.gpu)
    is_there = any(gpu.uuid == event.gpu for node in draft.state.nodes_as_read for gpu in node.gpus)
    record = replace(
        known,
        acknowledged_at=at,
        ecc_corrected=error_counts.acknowledged(known.ecc_corrected, at),
        is_expected=known.is_expected and is_there,
    )
    cleared: dict[GpuSignal, str] = {
        each.signal: "the operator said so"
        for each in record.active
        if each.signal is not GpuSignal.AWAITING_CHECK
    }
    change(draft, record, at, cleared=cleared)
    _settle(draft, at)


def _is_known(state: AgentState, uuid: GpuUuid) -> bool:
    return uuid in state.gpu_records or any(
        gpu.uuid == uuid for node in state.nodes_as_read for gpu in node.gpus
    )


# --- what follows


def _settle(draft: Draft, at: Instant) -> None:
    """Decisions see GPUs as they are now; bids and leases that cannot go on do not."""
    merge(draft)
    bidding.withdraw_undeliverable(draft)
    _withdraw_from_stopped_hosts(draft)
    _end_leases(draft, at)


def _withdraw_from_stopped_hosts(draft: Draft) -> None:
    stopped = {node.name: host_problem(node, draft.state.gpu_records) for node in draft.state.nodes}
    for bid in list(draft.state.bids.values()):
        problem = stopped.get(bid.placement.node)
        if problem:
            bidding.withdraw(draft, bid.bid.id, "withdrawn", problem)


def _end_leases(draft: Draft, at: Instant) -> None:
    bad = {
        gpu.uuid: gpu.problem or "unhealthy"
        for node in draft.state.nodes
        for gpu in node.gpus
        if gpu.health is GpuHealth.UNHEALTHY
    }
    for lease in list(draft.state.leases.values()):
        failed = {uuid: bad[uuid] for uuid in lease.placement.gpus if uuid in bad}
        failed |= _unlinked(draft.state, lease)
        if failed:
            detail = "; ".join(f"{uuid}: {why}" for uuid, why in failed.items())
            leasing.end(draft, lease.id, CloseReason.GPU_FAILED, detail, at)


def _unlinked(state: AgentState, lease: Lease) -> dict[GpuUuid, str]:
    """GPUs that work by themselves, but not with the others that a replica of it has."""
    found: dict[GpuUuid, str] = {}
    for replica in lease.placement.replicas:
        for uuid in replica.gpus if len(replica.gpus) > 1 else ():
            record = state.gpu_records.get(uuid)
            if record is not None:
                found |= _links(record)
    return found


def _links(record: GpuRecord) -> dict[GpuUuid, str]:
    held = [each for each in record.active if ROW[each.signal].action is Action.DRAIN_LINKED]
    return {record.uuid: f"{words(held[0].signal)}: {held[0].detail}"} if held else {}
