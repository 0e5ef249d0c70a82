"""What leases use, for people: totals, and between two looks how fast they grow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.markup import escape
from rich.table import Table

from provider.app import render
from provider.rpc.v1 import operator_pb2, resources_pb2, usage_pb2

NONE = "-"
"""Nobody could tell."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_WATT_HOUR = 3600
_COUNTED = ("cpu_s", "received_bytes", "sent_bytes", "read_bytes", "written_bytes")


def amount(size_bytes: float) -> str:
    """``1.5 MiB``."""
    for unit in _UNITS[:-1]:
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} {_UNITS[-1]}"


def energy(joules: float) -> str:
    """``950 J``, ``12.3 Wh``, ``1.25 kWh``."""
    hours = joules / _WATT_HOUR
    if hours < 1:
        return f"{joules:.0f} J"
    return f"{hours:.1f} Wh" if hours < 1000 else f"{hours / 1000:.2f} kWh"


def seconds(spent_s: float) -> str:
    return render.duration(round(spent_s * 1000))


Rates = dict[str, dict[str, float]]
"""By service: how much a second of each of ``_COUNTED``."""


class RateMeter:
    """Of one lease, told of again and again, more often than it is sampled."""

    def __init__(self) -> None:
        self._last: usage_pb2.LeaseUsage | None = None
        self._rates: Rates = {}

    def growth(self, now: usage_pb2.LeaseUsage) -> Rates:
        """Between the last two samples; nothing before the second. What was not told both times has none."""
        if self._last is not None and now.at_ms > self._last.at_ms:
            self._rates = _rates(self._last, now)
        if self._last is None or now.at_ms != self._last.at_ms:
            self._last = now
        return self._rates


def _rates(before: usage_pb2.LeaseUsage, now: usage_pb2.LeaseUsage) -> Rates:
    then = {each.service: each for each in before.services}
    span_s = (now.at_ms - before.at_ms) / 1000
    return {
        each.service: {
            name: max(getattr(each, name) - getattr(then[each.service], name), 0) / span_s
            for name in _COUNTED
            if each.HasField(name) and then[each.service].HasField(name)  # type: ignore[arg-type]
        }
        for each in now.services
        if each.service in then
    }


def services(usage: usage_pb2.LeaseUsage, growth: Rates | None = None) -> Table:
    """A row a service. With ``growth``: cores and bytes a second in place of totals."""
    columns = ("SERVICE", "CPU", "WAITED", "MEMORY", "NET IN", "NET OUT", "READ", "WRITTEN", "OOM")
    return _table(columns, [_service_row(each, growth) for each in usage.services])


def _service_row(each: usage_pb2.ServiceUsage, growth: Rates | None) -> tuple[str, ...]:
    grown = growth.get(each.service, {}) if growth is not None else None
    if grown is None:
        cpu = seconds(each.cpu_s) if each.HasField("cpu_s") else NONE
    else:
        cpu = f"{grown['cpu_s']:.2f} cores" if "cpu_s" in grown else NONE
    throttled = seconds(each.cpu_throttled_s) if each.HasField("cpu_throttled_s") else NONE
    moved = (_moved(each, name, grown) for name in _COUNTED[1:])
    kills = str(each.oom_kills) if each.HasField("oom_kills") else NONE
    if each.oom_kills:
        kills = f"[red]{kills}[/red]"
    return (each.service, cpu, throttled, _memory(each), *moved, kills)


def _moved(each: usage_pb2.ServiceUsage, name: str, grown: dict[str, float] | None) -> str:
    if grown is not None:
        return f"{amount(grown[name])}/s" if name in grown else NONE
    return amount(getattr(each, name)) if each.HasField(name) else NONE  # type: ignore[arg-type]


def _memory(each: usage_pb2.ServiceUsage) -> str:
    if not each.HasField("memory_bytes"):
        return NONE
    text = amount(each.memory_bytes)
    if not each.HasField("memory_limit_bytes") or not each.memory_limit_bytes:
        return text
    share, limit = each.memory_bytes / each.memory_limit_bytes, amount(each.memory_limit_bytes)
    figure, unit = text.split()
    text = f"{figure if limit.endswith(f' {unit}') else text} of {limit}"
    return f"[yellow]{text}[/yellow]" if share > 0.9 else text


def gpus(usage: usage_pb2.LeaseUsage) -> Table:
    """A row a card."""
    return _table(
        ("GPU", "NOW", "BUSY", "OF", "MEMORY", "POWER", "ENERGY"), [_gpu_row(each) for each in usage.gpus]
    )


def _gpu_row(each: usage_pb2.GpuUsage) -> tuple[str, ...]:
    return (
        each.uuid,
        _now(each),
        seconds(each.busy_s) if each.HasField("busy_s") else NONE,
        seconds(each.allocated_s),
        amount(each.memory_bytes) if each.HasField("memory_bytes") else NONE,
        f"{each.power_watts:.0f} W" if each.HasField("power_watts") else NONE,
        _energy(each),
    )


def _now(each: usage_pb2.GpuUsage) -> str:
    return f"{each.utilization_ratio:.0%}" if each.HasField("utilization_ratio") else NONE


def _energy(each: usage_pb2.GpuUsage) -> str:
    """An estimate says so."""
    if not each.HasField("energy_joules"):
        return NONE
    return ("~" if each.energy_estimated else "") + energy(each.energy_joules)


def leases(answer: operator_pb2.GetStatusResponse) -> tuple[Table, Table]:
    """What ``provider leases`` shows: what they are and have earned, and what they use; a line a card."""
    cards = {gpu.uuid: gpu for node in answer.nodes for gpu in node.gpus}
    held = _table(
        ("LEASE", "KEY", "STATE", "GPU", "RAN", "PRICE", "EARNED"),
        [_held_row(each, cards) for each in answer.leases],
        leading=4,
    )
    notes = [f"{each.key}: {each.detail}" for each in answer.leases if each.detail]
    if notes:
        held.caption, held.caption_justify = escape("\n".join(notes)), "left"
    used = _table(
        ("KEY", "GPU BUSY", "GPU MEMORY", "ENERGY", "CPU", "MEMORY", "DISK"), map(_used_row, answer.leases)
    )
    return held, used


def in_use(answer: operator_pb2.GetStatusResponse) -> str:
    """All leases together, now: ``2 GPUs 54% busy 623 W, 48.0 MiB memory, 24.0 MiB disk``."""
    usages = [each.usage for each in answer.leases if each.HasField("usage")]
    if not usages:
        return ""
    gpus = [gpu for usage in usages for gpu in usage.gpus]
    busy = [gpu.utilization_ratio for gpu in gpus if gpu.HasField("utilization_ratio")]
    power = [gpu.power_watts for gpu in gpus if gpu.HasField("power_watts")]
    cards = f"{len(gpus)} GPU{'' if len(gpus) == 1 else 's'}"
    cards += f" {sum(busy) / len(busy):.0%} busy" if busy else ""
    cards += f" {sum(power):.0f} W" if power else ""
    services = [service for usage in usages for service in usage.services]
    memory = [each.memory_bytes for each in services if each.HasField("memory_bytes")]
    disk = [usage.disk_bytes for usage in usages if usage.HasField("disk_bytes")]
    parts = [cards] if gpus else []
    parts += [f"{amount(sum(memory))} memory"] if memory else []
    parts += [f"{amount(sum(disk))} disk"] if disk else []
    return ", ".join(parts)


def _held_row(lease: operator_pb2.AgentLease, cards: dict[str, operator_pb2.GpuStatus]) -> tuple[str, ...]:
    held = (cards.get(uuid) for uuid in lease.gpu_uuids)
    return (
        render.lease_name(lease.id),
        lease.key,
        render.enum_word(resources_pb2.LeaseHealth, lease.health, "LEASE_HEALTH_"),
        _lines(f"#{card.index} {render.gpu_model(card)}" if card else NONE for card in held),
        render.duration(lease.running_ms),
        render.hourly(lease.rate),
        render.money(lease.earned),
    )


def _used_row(lease: operator_pb2.AgentLease) -> tuple[str, ...]:
    usage = lease.usage
    told = {each.uuid: each for each in usage.gpus}
    used = [told.get(uuid, usage_pb2.GpuUsage()) for uuid in lease.gpu_uuids]
    return (
        lease.key,
        _lines(_now(each) for each in used),
        _lines(amount(each.memory_bytes) if each.HasField("memory_bytes") else NONE for each in used),
        _lines(map(_energy, used)),
        _sum(seconds, (each.cpu_s for each in usage.services if each.HasField("cpu_s"))),
        _sum(amount, (each.memory_bytes for each in usage.services if each.HasField("memory_bytes"))),
        amount(usage.disk_bytes) if usage.HasField("disk_bytes") else NONE,
    )


def _lines(cells: Iterable[str]) -> str:
    return "\n".join(cells) or NONE


def _sum(shown: Callable[[float], str], figures: Iterable[float]) -> str:
    told = list(figures)
    return shown(sum(told)) if told else NONE


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, leading: int = 1) -> Table:
    """Names at the left, figures at the right, so that they can be compared."""
    made = render.table(columns, rows)
    for column in made.columns[leading:]:
        column.justify = "right"
    for column in made.columns[:leading]:
        column.no_wrap = True
    return made
