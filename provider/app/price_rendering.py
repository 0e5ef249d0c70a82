"""A price as people and programs see it: its parts, what it costs the provider, and totals."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from provider.app.offline_pricing import Priced
from provider.app.render import SIMULATED
from provider.core import pricing
from provider.core.gpu_keys import name_of
from provider.domain.money import Denom, Rate
from provider.domain.price import PricePart

MONTH_HOURS = 730
"""A twelfth of a year."""
_SYMBOLS = {Denom.UACT: "ACT", Denom.UAKT: "AKT", Denom.UUSDC: "USDC", Denom.IBC_USDC: "USDC (ibc)"}


def shown(priced: Priced) -> RenderableType:
    """All about one group."""
    blocks: list[RenderableType] = [Text.from_markup(_title(priced))]
    if priced.quote is not None:
        blocks += [_parts(priced), Text(), _rates(priced)]
    if priced.refused is not None:
        blocks.append(Text.from_markup(f"[red]no bid[/red]: {_escaped(str(priced.refused))}"))
    elif priced.quote is not None:
        highest = _hourly(priced.group.max_rate)
        blocks.append(Text.from_markup(f"[green]a bid[/green]: the order pays at most {highest} an hour"))
    return Group(*blocks)


def as_tree(priced: Priced) -> dict[str, Any]:
    """The same for programs; amounts of money an hour are micro-units, as exact as they are known."""
    quote = priced.quote
    return {
        "group": priced.group.name,
        "gpus": [name_of(gpu) for gpu in priced.pick.gpus] if priced.pick else [],
        "picked": priced.pick.why if priced.pick else "",
        "parts": [_part_tree(each) for each in quote.parts] if quote else [],
        "costs": [_part_tree(each) for each in quote.costs] if quote else [],
        "floor": str(quote.floor.amount) if quote and quote.floor else None,
        "hour_micros": str(priced.hour) if quote else None,
        "month_micros": str(priced.hour * MONTH_HOURS) if quote else None,
        "rates": {str(rate.denom): str(rate.amount) for rate in priced.rates},
        "maximum": str(priced.group.max_rate.amount),
        "refused": None
        if priced.refused is None
        else {
            "why": priced.refused.why.value,
            "required": priced.refused.required,
            "available": priced.refused.available,
        },
    }


def _part_tree(part: PricePart) -> dict[str, Any]:
    return {
        "what": part.what,
        "amount": str(part.amount),
        "unit_cost_micros_hour": None if part.unit_cost is None else str(part.unit_cost),
        "cost_micros_hour": str(part.cost),
    }


def _title(priced: Priced) -> str:
    title = f"[bold]{_escaped(priced.group.name)}[/bold]"
    if priced.pick is None or not priced.pick.gpus:
        return title
    names = [name_of(gpu) for gpu in priced.pick.gpus]
    cards = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    simulated = f" {SIMULATED}" if any(gpu.simulated for gpu in priced.pick.gpus) else ""
    return f"{title} on {cards}{simulated}"


def _parts(priced: Priced) -> Table:
    assert priced.quote is not None, "only what has a price is shown so"
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    made.add_column("PART")
    for column in ("AMOUNT", "EACH/H", "COST/H"):
        made.add_column(column, justify="right")
    _add(made, priced.quote.parts, "price")
    if priced.quote.costs:
        made.add_row("")
        _add(made, priced.quote.costs, "what it costs you: the floor")
    return made


def _add(table: Table, parts: Iterable[PricePart], total: str) -> None:
    listed = tuple(parts)
    for part in listed:
        each = "" if part.unit_cost is None else _whole(part.unit_cost)
        amount = "" if part.unit_cost is None else _short(part.amount)
        table.add_row(part.what, amount, each, _whole(part.cost))
    table.add_row(f"[bold]{total}[/bold]", "", "", f"[bold]{_whole(pricing.total(listed))}[/bold]")


def _rates(priced: Priced) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    made.add_column("IN")
    for column in ("A BLOCK (6 S)", "AN HOUR", "A MONTH (730 H)"):
        made.add_column(column, justify="right")
    for rate in priced.rates:
        hour = rate.per_hour()
        made.add_row(
            _SYMBOLS[rate.denom],
            f"{_short(rate.amount, places=6)} {rate.denom.value.split('/')[0]}",
            _whole(hour),
            _whole(hour * MONTH_HOURS, places=2),
        )
    return made


def _hourly(rate: Rate) -> str:
    return f"{_whole(rate.per_hour())} {_SYMBOLS[rate.denom]}"


def _whole(micros: Decimal, places: int = 6) -> str:
    """Of whole units: ``1.250000``. For people; what is exact is in the JSON."""
    unit = micros.scaleb(-6)
    return f"{unit.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,f}"


def _short(amount: Decimal, places: int = 4) -> str:
    """``0.5``, ``12``: no more digits than there are, and at most ``places`` after the point."""
    text = f"{amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
