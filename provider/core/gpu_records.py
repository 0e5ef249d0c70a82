"""What is remembered of each GPU, and each GPU as well as that says: the one place that changes records.

Owns raising and clearing, history, and the nodes that decisions look at (``state.nodes``): those that were
read, with what the records hold against their GPUs. What follows for bids and leases is ``gpu_upkeep``'s.

Invariant: ``state.nodes`` is ``state.nodes_as_read`` under ``state.gpu_records``, after every step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from provider.core.draft import Draft
from provider.core.health import goes_at_boot, health_of, problem_of, worst
from provider.core.lease import Phase
from provider.core.state import AgentState, Lease
from provider.core.step import GpuSignalMoved
from provider.domain.gpu import Gpu
from provider.domain.gpu_health import (
    HISTORY_MOST,
    PLACE,
    ActiveSignal,
    GpuRecord,
    GpuSignal,
    SignalChange,
)
from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.moment import Instant
from provider.domain.node import Node

RECORDS_MOST = 256
"""GPUs that are remembered: cards come and go, MIG instances more often."""
REBOOTED = "the machine was rebooted"
OURS_ENDS = frozenset({Phase.STOPPING, Phase.UPDATING})
"""Phases in which we end containers ourselves."""


def record_of(state: AgentState, uuid: GpuUuid) -> GpuRecord:
    """What is remembered of it; a new one belongs to the boot of the node that has it."""
    known = state.gpu_records.get(uuid)
    if known is not None:
        return known
    boots = [node.capacity.boot_id for node in state.nodes_as_read for gpu in node.gpus if gpu.uuid == uuid]
    boots += [node.capacity.boot_id for node in state.nodes_as_read]
    return GpuRecord(uuid=uuid, boot_id=boots[0] if boots else "")


def looked_at(state: AgentState) -> dict[GpuUuid, tuple[Gpu | None, bool | None]]:
    """What is judged: cards that are there, those that are missed, and places on the PCI bus, of which the
    second says whether a card is there that the driver does not list."""
    cards = {gpu.uuid: gpu for node in state.nodes_as_read for gpu in node.gpus}
    places = {GpuUuid(f"{PLACE}{place}") for node in state.nodes_as_read for place in node.inventory.unlisted}
    kept = state.gpu_records.values()
    known = {each.uuid for each in kept if each.has(GpuSignal.GPU_UNLISTED)}
    missed = {each.uuid for each in kept if each.is_expected} - cards.keys()
    found: dict[GpuUuid, tuple[Gpu | None, bool | None]] = {uuid: (gpu, None) for uuid, gpu in cards.items()}
    found |= dict.fromkeys(sorted(missed), (None, None))
    return found | {uuid: (None, uuid in places) for uuid in sorted(places | known)}


def put(draft: Draft, record: GpuRecord) -> None:
    """Keep it; of too many the oldest that nothing is known of go."""
    records = {**draft.state.gpu_records, record.uuid: record}
    if len(records) > RECORDS_MOST:
        unused = [each for each in records.values() if not each.active and each is not record]
        idle = next((each.uuid for each in sorted(unused, key=lambda each: each.is_expected)), None)
        if idle is not None:
            del records[idle]
    draft.state = replace(draft.state, gpu_records=records)


def change(
    draft: Draft,
    record: GpuRecord,
    at: Instant,
    *,
    raised: Iterable[ActiveSignal] = (),
    cleared: Mapping[GpuSignal, str] | None = None,
) -> GpuRecord:
    """Raise and clear; what is so already changes nothing. ``cleared`` says how each of them went."""
    gone = {signal: how for signal, how in (cleared or {}).items() if record.has(signal)}
    record = replace(record, active=tuple(each for each in record.active if each.signal not in gone))
    come = {each.signal: each for each in raised if not record.has(each.signal)}
    record = replace(record, active=(*record.active, *come.values()))
    health = health_of(record)
    moved = [(signal, False, how) for signal, how in gone.items()]
    moved += [(each.signal, True, each.detail) for each in come.values()]
    news = [
        SignalChange(at=at, signal=signal, is_raised=is_raised, detail=detail, health=health)
        for signal, is_raised, detail in moved
    ]
    record = replace(record, history=(*record.history, *news)[-HISTORY_MOST:])
    put(draft, record)
    leases = tuple(each.id for each in holders(draft.state, record.uuid)) if news else ()
    for line in news:
        draft.note(GpuSignalMoved(gpu=record.uuid, line=line, leases=leases))
    return record


def booted(draft: Draft, node: Node, at: Instant) -> None:
    """A GPU whose record is of another boot has been reset since."""
    for gpu in node.gpus:
        record = draft.state.gpu_records.get(gpu.uuid)
        if record is None or record.boot_id == node.capacity.boot_id:
            continue
        reset = [each.signal for each in record.active if goes_at_boot(each.signal)]
        begun = replace(record, boot_id=node.capacity.boot_id, ecc_uncorrected=None, energy_joules=None)
        change(draft, begun, at, cleared=dict.fromkeys(reset if record.boot_id else [], REBOOTED))


def merge(draft: Draft) -> None:
    """Each GPU as well as the probe and what is remembered say, whichever is worse."""
    state = draft.state
    nodes = tuple(_merged(node, state.gpu_records) for node in state.nodes_as_read)
    draft.state = replace(state, nodes=nodes)
    if nodes != state.nodes:
        draft.capacity_changed = True


def _merged(node: Node, records: Mapping[GpuUuid, GpuRecord]) -> Node:
    gpus = tuple(_judged(gpu, records) for gpu in node.gpus)
    return node if gpus == node.gpus else replace(node, inventory=replace(node.inventory, gpus=gpus))


def _judged(gpu: Gpu, records: Mapping[GpuUuid, GpuRecord]) -> Gpu:
    """What holds against a card holds against its instances."""
    uuids = [gpu.uuid] if gpu.mig is None else [gpu.uuid, gpu.mig.parent]
    found = [records[uuid] for uuid in uuids if uuid in records and records[uuid].active]
    problems = [(health_of(record), problem_of(record)) for record in found]
    health = worst(gpu.health, *(state for state, _ in problems))
    if health is gpu.health:
        return gpu
    return replace(gpu, health=health, problem=next(why for state, why in problems if state is health))


def parts_of(state: AgentState, uuid: GpuUuid) -> set[GpuUuid]:
    """It, and instances of it."""
    return {uuid} | {
        gpu.uuid
        for node in state.nodes_as_read
        for gpu in node.gpus
        if gpu.mig is not None and gpu.mig.parent == uuid
    }


def holders(state: AgentState, uuid: GpuUuid) -> list[Lease]:
    """Leases that have it, or an instance of it."""
    parts = parts_of(state, uuid)
    return [lease for lease in state.leases.values() if parts.intersection(lease.placement.gpus)]


def ended_containers(draft: Draft, lease_id: LeaseId, before: Phase, at: Instant) -> None:
    """A lease left ``before``: if that was a phase in which we ended its containers, its GPUs remember it."""
    lease = draft.state.leases[lease_id]
    if before in OURS_ENDS and not lease.placement.simulated_gpus:
        for uuid in lease.placement.gpus:
            put(draft, replace(record_of(draft.state, uuid), stopped_at=at))


def left(draft: Draft, lease: Lease, at: Instant) -> None:
    """A lease is over: its GPUs are looked at before anybody else gets them."""
    if not draft.state.policy.checks_gpus or lease.placement.simulated_gpus:
        return
    for uuid in lease.placement.gpus:
        waiting = ActiveSignal(
            signal=GpuSignal.AWAITING_CHECK, since=at, detail=f"lease {lease.id.key} has ended on it"
        )
        change(draft, record_of(draft.state, uuid), at, raised=[waiting])
    merge(draft)
