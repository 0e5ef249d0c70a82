"""Decisions on orders, for the operator: a table of many (``provider bids``), a page of one (``why``).

Owns the words. Everything shown is in the wire's message; nothing is decided or added up here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from provider.app import render
from provider.domain.money import BLOCKS_PER_HOUR
from provider.rpc.v1 import operator_pb2, resources_pb2

OPEN = ("decided", "submitted")
ROOMY = 100
"""Characters of a line."""
_COLOUR = {
    "decided": "cyan",
    "submitted": "cyan",
    "won": "green",
    "ended": "green",
    "refused": "yellow",
    "lost": "yellow",
    "expired": "yellow",
    "withdrawn": "yellow",
    "rejected": "red",
    "unknown": "red",
}
_SAYS = {
    "decided": "the market has not taken the bid yet",
    "submitted": "the market has the bid",
    "won": "it is a lease",
    "ended": "the lease is over",
    "lost": "somebody else was chosen, or the order was closed",
    "expired": "nobody answered in time",
    "withdrawn": "taken back",
    "rejected": "the market did not take it",
    "unknown": "the daemon was killed before it wrote the end down",
}
_KINDS = {1: "HTTP port", 2: "port", 3: "leased IP"}
INDENT = "  "


def table(decisions: Iterable[operator_pb2.OrderDecision], width: int) -> Table:
    """What ``provider bids`` shows on a terminal of ``width`` characters: sizes only where there is room."""
    is_wide = width >= ROOMY
    sizes = ("CORES", "MEMORY") if is_wide else ()
    made = render.table(
        ("ORDER", "DECIDED (UTC)", "GPUS", *sizes, "PRICE", "OUTCOME", "WHY"),
        [
            (
                each.order,
                _day(each.decided_ms)[5:],
                escape(", ".join(_wanted(each.group)) or "-"),
                *(_sizes(each.group) if is_wide else ()),
                render.hourly(each.rate) if each.HasField("rate") else "-",
                _outcome(each.outcome),
                escape(_short_why(each)),
            )
            for each in decisions
        ],
    )
    for column in made.columns[:-1]:
        column.no_wrap = column.header != "GPUS"  # what is long wraps, and nothing else does
    return made


def page(out: Console, decisions: Sequence[operator_pb2.OrderDecision]) -> None:
    """What ``provider why`` shows: the last decision in full, those before it a line each."""
    last = decisions[-1]
    _asked(out, last)
    if len(decisions) > 1:
        _title(out, "Before")
        _grid(out, map(_before, decisions[:-1]), "<<<")
    _rules(out, last)
    if last.HasField("rate"):
        _placed(out, last)
        _price(out, last)
    _happened(out, last)


def _title(out: Console, text: str) -> None:
    out.print(f"\n[bold]{text}[/bold]")


def _asked(out: Console, decision: operator_pb2.OrderDecision) -> None:
    out.print(f"[bold]{decision.order}[/bold]  {_outcome(decision.outcome)}  {escape(_headline(decision))}")
    _title(out, "Asked")
    rows = []
    for unit in decision.group.units:
        gpus = _gpu_ask(unit.resources)
        rows.append(
            (
                f"{INDENT}{unit.count} x",
                _unit_sizes(unit.resources),
                escape(gpus),
                escape(", ".join(_endpoints(unit.resources.endpoints))),
                f"at most {render.hourly(unit.price)}" + (" each" if unit.count > 1 else ""),
            )
        )
    _grid(out, rows, "<<<<<")
    wants = [f"{each.key}={each.value}" for each in decision.group.attributes]
    signed = [*decision.group.signed_by.all_of, *decision.group.signed_by.any_of]
    if wants:
        out.print(f"{INDENT}of a provider with {escape(', '.join(wants))}")
    if signed:
        out.print(f"{INDENT}signed by {escape(', '.join(signed))}")


def _headline(decision: operator_pb2.OrderDecision) -> str:
    if decision.HasField("rate"):
        return f"bid {render.hourly(decision.rate)}"
    return _refusal(decision)


def _refusal(decision: operator_pb2.OrderDecision) -> str:
    return render.refusal(decision.reason, decision.required, decision.available)


def _before(decision: operator_pb2.OrderDecision) -> tuple[str, str, str]:
    return (
        INDENT + _day(decision.decided_ms),
        _outcome(decision.outcome),
        escape(_headline(decision)),
    )


def _rules(out: Console, decision: operator_pb2.OrderDecision) -> None:
    _title(out, "Rules")
    passed = [f"[green]✓[/green] {name}" for name in decision.passed]
    _grid(out, [[INDENT + each for each in passed[at : at + 4]] for at in range(0, len(passed), 4)], "<<<<")
    if decision.rule:
        out.print(f"{INDENT}[red]✗ {decision.rule}[/red]  {escape(_refusal(decision))}")
    if not passed and not decision.rule:
        out.print(f"{INDENT}not recorded: the daemon was killed before it wrote them down")


def _placed(out: Console, decision: operator_pb2.OrderDecision) -> None:
    _title(out, "Placed")
    many = len(decision.group.units) > 1
    rows = []
    for number, each in enumerate(decision.replicas):
        name = f"unit {each.resources_id}, replica {each.replica}" if many else f"replica {each.replica}"
        rows.append(
            (
                INDENT + (decision.node if number == 0 else ""),
                name,
                "\n".join(each.gpu_uuids) or "no GPU",
            )
        )
    _grid(out, rows, "<<<")
    if decision.gpus:
        out.print(f"{INDENT}offered as {', '.join(render.gpu_offer(gpu) for gpu in decision.gpus)}")
    if decision.picked:
        out.print(f"{INDENT}because {escape(decision.picked)}")
    if decision.host_ports:
        out.print(f"{INDENT}host ports {', '.join(map(str, decision.host_ports))}")


def _price(out: Console, decision: operator_pb2.OrderDecision) -> None:
    _title(out, "Price an hour")
    unit = render.currency(decision.rate.denom)
    rows = [_part(part, INDENT) for part in decision.parts]
    rows.append((f"{INDENT}[bold]bid[/bold]", "", f"[bold]{_per_hour(decision.rate)}[/bold]", unit))
    if decision.HasField("floor"):
        rows.append((f"{INDENT}floor", "", _per_hour(decision.floor), f"{unit}, less loses money"))
    rows.append((f"{INDENT}maximum", "", _per_hour(decision.maximum), f"{unit}, the order pays no more"))
    _numbers(out, rows)
    if decision.costs:
        out.print(f"{INDENT}[dim]what the floor is made of:[/dim]")
        _numbers(out, [_part(part, INDENT * 2) for part in decision.costs])


def _part(part: operator_pb2.PricePart, indent: str) -> tuple[str, ...]:
    of = part.HasField("unit_cost_micros_hour")
    amount = f"{_trimmed(part.amount)} x {_trimmed_hour(part.unit_cost_micros_hour)}" if of else ""
    return indent + escape(part.what), amount, _hour(part.cost_micros_hour), ""


def _numbers(out: Console, rows: Iterable[tuple[str, ...]]) -> None:
    _grid(out, rows, "<>><")


def _grid(out: Console, rows: Iterable[Sequence[str]], columns: str) -> None:
    """``columns``: one ``<`` or ``>`` each, for left and right."""
    made = Table.grid(padding=(0, 2))
    for column in columns:
        made.add_column(justify="left" if column == "<" else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    out.print(made)


def _happened(out: Console, decision: operator_pb2.OrderDecision) -> None:
    _title(out, "What happened")
    _grid(out, _moments(decision), "<><<")


def _moments(decision: operator_pb2.OrderDecision) -> Iterator[tuple[str, str, str, str]]:
    took = f"decided in {decision.took_us} µs" if decision.took_us else "decided"
    again = ", again: what there is had changed" if decision.again else ""
    word = "bid" if decision.HasField("rate") else "no bid"
    yield (INDENT + _moment(decision.decided_ms), "", word, took + again)
    for turn in decision.turns:
        later = render.duration(max(turn.at_ms - decision.decided_ms, 0))
        yield (
            INDENT + _moment(turn.at_ms),
            f"+{later}",
            _outcome(turn.outcome),
            escape(_turn(turn)),
        )
    if decision.outcome == "unknown":
        yield "", "", _outcome(decision.outcome), _SAYS["unknown"]


def _kinds(fact: str) -> str:
    """Without the words that every kind of GPU has in front."""
    return fact.replace("vendor/nvidia/model/", "").replace("vendor/nvidia", "any GPU")


def _turn(turn: operator_pb2.BidTurn, says: Mapping[str, str] = _SAYS) -> str:
    said = _words(turn.detail) or says.get(turn.outcome, "")
    if turn.HasField("running_ms"):
        said += f"; ran {render.duration(turn.running_ms)}"
    if turn.HasField("earned"):
        said += f", earned {render.money(turn.earned)}"
    return said


def _short_why(decision: operator_pb2.OrderDecision) -> str:
    if decision.reason:
        facts = [decision.required, decision.available]
        return _words(decision.reason) + ": " + ", ".join(_kinds(fact) for fact in facts if fact)
    if decision.turns and decision.outcome not in OPEN:
        return _turn(decision.turns[-1], {**_SAYS, "lost": "another won, or it was closed", "won": ""})
    return _SAYS["unknown"] if decision.outcome == "unknown" else ""


def _outcome(word: str) -> str:
    colour = _COLOUR.get(word, "default")
    return f"[{colour}]{word}[/{colour}]"


def _words(text: str) -> str:
    """An enumerated word as people write it; a sentence stays as it is."""
    return text.replace("_", " ")


def _sizes(group: resources_pb2.GroupSpec) -> tuple[str, str]:
    """Cores and memory of all replicas together."""
    cores = sum(unit.resources.cpu_millis * unit.count for unit in group.units) / 1000
    memory = sum(unit.resources.memory_bytes * unit.count for unit in group.units)
    return f"{cores:g}", render.size(memory)


def _cores(count: float) -> str:
    return f"{count:g} core" + ("" if count == 1 else "s")


def _unit_sizes(resources: resources_pb2.Resources) -> str:
    disk = sum(volume.size_bytes for volume in resources.storage)
    sizes = f"{_cores(resources.cpu_millis / 1000)}, {render.size(resources.memory_bytes)} memory"
    return sizes + (f", {render.size(disk)} storage" if disk else "")


def _wanted(group: resources_pb2.GroupSpec) -> Iterator[str]:
    for unit in group.units:
        if unit.resources.gpu_units:
            ask = _gpu_ask(unit.resources)
            yield f"{unit.count} x {ask}" if unit.count > 1 else ask


def _gpu_ask(resources: resources_pb2.Resources) -> str:
    if not resources.gpu_units:
        return "no GPU"
    kinds = [
        " ".join(word for word in (each.model or "any GPU", each.ram, each.interface) if word)
        for each in resources.gpu_alternatives
    ]
    return f"{resources.gpu_units} x {' or '.join(kinds)}"


def _endpoints(endpoints: Iterable[resources_pb2.Endpoint]) -> Iterator[str]:
    kinds = [_KINDS.get(endpoint.kind, "port") for endpoint in endpoints]
    for kind in dict.fromkeys(kinds):
        count = kinds.count(kind)
        yield f"{count} {kind}" + ("s" if count > 1 else "")


def _per_hour(rate: resources_pb2.Rate) -> str:
    return f"{Decimal(rate.amount or 0) * BLOCKS_PER_HOUR / 1_000_000:,.6f}"


def _hour(micros: str) -> str:
    return f"{Decimal(micros or 0) / 1_000_000:,.6f}"


def _trimmed_hour(micros: str) -> str:
    return _trimmed(f"{Decimal(micros or 0) / 1_000_000:f}")


def _trimmed(amount: str) -> str:
    return f"{float(amount or 0):,.6g}"


def _day(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _moment(at_ms: int) -> str:
    return f"{_day(at_ms)}.{at_ms % 1000:03d}"
