"""What ``provider gpus`` shows: the cards at a glance, one card's health in full. Nothing here decides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from provider.app.render import gpu_model, lease_name, size, table
from provider.core.health import words
from provider.domain.moment import Instant, rfc3339
from provider.rpc.v1 import operator_pb2 as pb

_COLOURS = {"healthy": "green", "degraded": "yellow", "unhealthy": "red", "unknown": "magenta"}
SHORT_LEAST = 12
"""Characters of a UUID: ``GPU-`` and its first group."""
HISTORY_LINES = 20


def gpus(nodes: Sequence[pb.NodeStatus]) -> RenderableType:
    """A line a card, and below why those that are not healthy are not, and why the idle job is not on one."""
    cards = list(chain.from_iterable(node.gpus for node in nodes))
    names = short_names([gpu.uuid for gpu in cards])
    rows = [_row(gpu, names[gpu.uuid]) for gpu in cards]
    columns = ("#", "GPU", "MODEL", "MEMORY", "HEALTH", "LEASE", "BUSY", "TEMP", "POWER")
    made = table(columns, rows)
    for number in (3, 6, 7, 8):
        made.columns[number].justify = "right"
    for number in (3, 4, 6, 7, 8):
        made.columns[number].no_wrap = True
    return Group(made, *_problems(cards, names), *_waiting(cards, names), *_hosts(nodes))


def _row(gpu: pb.GpuStatus, name: str) -> tuple[str, ...]:
    used = size(gpu.memory_used_bytes) + " / " if gpu.HasField("memory_used_bytes") else ""
    return (
        str(gpu.index),
        name,
        gpu_model(gpu),
        used + (size(gpu.memory_bytes) if gpu.HasField("memory_bytes") else "-"),
        state(gpu.health),
        _holder(gpu),
        f"{gpu.utilization_ratio:.0%}" if gpu.HasField("utilization_ratio") else "-",
        f"{gpu.temperature_celsius:.0f} °C" if gpu.HasField("temperature_celsius") else "-",
        f"{gpu.power_watts:.0f} W" if gpu.HasField("power_watts") else "-",
    )


def _holder(gpu: pb.GpuStatus) -> str:
    """The lease; a card with the idle job is as free as one without."""
    idle = ""
    if gpu.HasField("idle_job"):
        phase = gpu.idle_job.phase
        idle = "idle job" if phase == "running" else f"idle job ({phase})"
    if gpu.HasField("lease"):
        return lease_name(gpu.lease) + (f", {idle}" if idle else "")
    return f"[dim]{idle or 'free'}[/dim]"


def _waiting(cards: Iterable[pb.GpuStatus], names: dict[str, str]) -> Iterable[RenderableType]:
    """Why the operator's idle job is not where it should be."""
    for gpu in cards:
        if gpu.HasField("idle_job") and gpu.idle_job.problem:
            again = f"; again at {_time(gpu.idle_job.retry_ms)}" if gpu.idle_job.HasField("retry_ms") else ""
            problem = escape(gpu.idle_job.problem)
            yield f"[yellow]{names[gpu.uuid]}[/]: the idle job does not run: {problem}{again}"


def state(health: str) -> str:
    """A dot and the word, in its colour; without colours the word says it."""
    return f"[{_COLOURS.get(health, 'magenta')}]● {health}[/]"


def _problems(cards: Iterable[pb.GpuStatus], names: dict[str, str]) -> Iterable[RenderableType]:
    sick = [gpu for gpu in cards if gpu.problem]
    if not sick:
        return
    yield ""
    for gpu in sick:
        colour = _COLOURS.get(gpu.health, "magenta")
        yield f"[{colour}]{names[gpu.uuid]}[/] is {gpu.health}: {escape(gpu.problem)}"
    yield f"[dim]  More: provider gpus health {sick[0].index}[/dim]"


def _hosts(nodes: Iterable[pb.NodeStatus]) -> Iterable[RenderableType]:
    for node in nodes:
        if node.gpu_problem:
            yield f"[yellow]{node.name}[/]: {escape(node.gpu_problem)}"


def short_names(uuids: Sequence[str]) -> dict[str, str]:
    """As much of each as tells it from the others; good as an argument."""
    names = {}
    for uuid in uuids:
        length = SHORT_LEAST
        while any(other != uuid and other.startswith(uuid[:length]) for other in uuids):
            length += 1
        names[uuid] = uuid[:length].rstrip("-")
    return names


# --- one card's health


def reports(answer: pb.GetGpuHealthResponse) -> RenderableType:
    """Each card in full, an empty line between two."""
    parts: list[RenderableType] = []
    for gpu in answer.gpus:
        parts += [*([""] if parts else []), *_report(gpu)]
    return Group(*parts) if parts else Text("no GPUs")


def _report(gpu: pb.GpuHealthReport) -> Iterable[RenderableType]:
    where = f"{gpu.index}  " if gpu.HasField("index") else "gone  "
    yield f"[bold]{where}{gpu.uuid}[/bold]  {escape(gpu.name)}"
    holder = f", leased to {lease_name(gpu.lease)}" if gpu.HasField("lease") else ""
    yield f"   {state(gpu.health)}{holder}"
    if gpu.signals:
        yield ""
        yield _indented(_signals(gpu.signals))
    elif gpu.problem:
        yield f"   {escape(gpu.problem)}"
    if gpu.remedy:
        yield ""
        yield from _to_do(gpu.remedy)
    if gpu.xids:
        yield ""
        yield _indented(_xids(gpu.xids))
    if gpu.history:
        yield ""
        yield _indented(_history(gpu.history))


def _to_do(lines: Iterable[str]) -> Iterable[RenderableType]:
    """Commands stand out, and are neither broken in two nor cut off: they are there to be copied."""
    yield "   [bold]TO DO[/bold]"
    for text in lines:
        if text.startswith("$ "):
            command = Text(text, style="cyan", no_wrap=True, overflow="ignore")
            yield Padding(command, (0, 0, 0, 5), expand=False)
        else:
            yield Padding(Text(text), (0, 0, 0, 3), expand=False)


def _indented(made: Table) -> Padding:
    return Padding(made, (0, 0, 0, 3))


def _signals(signals: Iterable[pb.HeldSignal]) -> Table:
    rows = [
        (
            f"[{_COLOURS[each.health]}]{words(each.signal)}[/]",
            _time(each.since_ms),
            escape(each.detail) or "-",
            escape(each.clears),
        )
        for each in signals
    ]
    return table(("HOLDS AGAINST IT", "SINCE", "WHY", "GOES AWAY"), rows)


def _xids(seen: Sequence[pb.SeenXid]) -> Table:
    rows = [
        (
            str(each.xid) + (f" x {each.count}" if each.count > 1 else ""),
            each.kind,
            _time(each.at_ms),
            escape(each.meaning),
            lease_name(each.lease) if each.HasField("lease") else "-",
        )
        for each in seen[-HISTORY_LINES:]
    ]
    return table(("XID", "CLASS", "LAST", "MEANING", "LEASE"), rows)


def _history(history: Sequence[pb.HealthChange]) -> Table:
    rows = [
        (
            _time(each.at_ms),
            f"[{_COLOURS[each.health]}]●[/] {each.health}",
            f"{'+' if each.raised else '-'} {words(each.signal)}",
            escape(each.detail) or "-",
        )
        for each in history[-HISTORY_LINES:]
    ]
    return table(("HISTORY", "HEALTH", "SIGNAL", "WHY"), rows)


def _time(at_ms: int) -> str:
    """To the second: people read it."""
    return rfc3339(Instant(at_ms))[:19].replace("T", " ") + "Z"
