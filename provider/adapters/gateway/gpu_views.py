"""GPUs' health as their operator sees it, and which GPU an operator means. Pure.

Invariant: a GPU that could be two is refused, never guessed.
"""

from __future__ import annotations

from grpc import StatusCode

from provider.core import xids
from provider.core.gpu_records import holders, record_of
from provider.core.health import ROW, clears_words, health_of, problem_of, worst
from provider.core.remedies import remedy
from provider.core.state import AgentState
from provider.domain.gpu import Gpu, GpuLinkKind
from provider.domain.gpu_health import ActiveSignal, SeenFault, SignalChange
from provider.domain.ids import GpuUuid
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.fields import line
from provider.rpc.status import Denied
from provider.rpc.v1 import operator_pb2 as pb

LIST = "list them with `provider gpus`"


def known(state: AgentState) -> dict[GpuUuid, Gpu | None]:
    """Every GPU that is there, by index, then those that are only remembered because of what held on them."""
    there: dict[GpuUuid, Gpu | None] = {gpu.uuid: gpu for node in state.nodes for gpu in node.gpus}
    gone = {uuid: None for uuid, record in sorted(state.gpu_records.items()) if record.history}
    return there | {uuid: None for uuid in gone if uuid not in there}


def meant(state: AgentState, text: str) -> GpuUuid:
    """The GPU that ``text`` names: an index, a UUID or the beginning of one. ``Denied`` unless it is one."""
    every = known(state)
    if text.isdecimal() and text.isascii():
        found = [uuid for uuid, gpu in every.items() if gpu is not None and gpu.index == int(text)]
        found = [uuid for uuid in found if _is_whole(every[uuid])] or found
    else:
        found = [uuid for uuid in every if text and uuid.lower().startswith(text.lower())]
        found = [uuid for uuid in found if uuid.lower() == text.lower()] or found
    if len(found) == 1:
        return found[0]
    if not found:
        raise Denied(StatusCode.NOT_FOUND, "GPU_UNKNOWN", f"there is no GPU {text!r} here", remedy=LIST)
    raise Denied(
        StatusCode.INVALID_ARGUMENT,
        "GPU_AMBIGUOUS",
        f"{text!r} could be {len(found)} GPUs: {', '.join(found[:4])}",
        remedy="write more of the UUID",
    )


def _is_whole(gpu: Gpu | None) -> bool:
    return gpu is not None and gpu.mig is None


def report_to_pb(state: AgentState, uuid: GpuUuid) -> pb.GpuHealthReport:
    """All that is known of how it does and did."""
    gpu, record = known(state)[uuid], record_of(state, uuid)
    having = holders(state, uuid)
    health = worst(health_of(record), *([gpu.health] if gpu else []))
    return pb.GpuHealthReport(
        uuid=uuid,
        index=gpu.index if gpu else None,
        name=gpu.name if gpu else "",
        health=health,
        problem=line((gpu.problem if gpu else problem_of(record)) or ""),
        lease=lease_id_to_pb(having[0].id) if len(having) == 1 else None,
        signals=map(_signal_to_pb, record.active),
        history=map(_change_to_pb, record.history),
        xids=map(_xid_to_pb, record.faults),
        remedy=remedy(
            record,
            gpu,
            lease=having[0].id if having else None,
            is_switched=_is_switched(state, uuid),
        ),
    )


def _is_switched(state: AgentState, uuid: GpuUuid) -> bool:
    links = [link for node in state.nodes for link in node.inventory.links]
    return any(link.kind is GpuLinkKind.NVSWITCH and uuid in (link.first, link.second) for link in links)


def _signal_to_pb(active: ActiveSignal) -> pb.HeldSignal:
    return pb.HeldSignal(
        signal=active.signal,
        health=ROW[active.signal].state,
        since_ms=active.since,
        detail=line(active.detail),
        clears=clears_words(active.signal).replace("`", ""),
    )


def _change_to_pb(change: SignalChange) -> pb.HealthChange:
    return pb.HealthChange(
        at_ms=change.at,
        signal=change.signal,
        raised=change.is_raised,
        detail=line(change.detail),
        health=change.health,
    )


def _xid_to_pb(seen: SeenFault) -> pb.SeenXid:
    return pb.SeenXid(
        xid=seen.xid,
        kind=xids.xid_class(seen.xid),
        meaning=xids.meaning(seen.xid),
        at_ms=seen.at,
        count=seen.count,
        lease=lease_id_to_pb(seen.lease) if seen.lease else None,
    )
