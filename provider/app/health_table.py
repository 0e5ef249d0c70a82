"""The health table as operators read it: ``python -m provider.app.health_table`` puts it into its page.

Owns the page's form. The rows are ``core.health_rows``'s; a test holds the page to them.
"""

from __future__ import annotations

from pathlib import Path

from provider.core.health import words
from provider.core.health_row import Action, Row, Stops
from provider.core.health_rows import ROWS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operating.md"
HEAD = ("| # | signal | when | state, what follows | how it goes away |", "|---|---|---|---|---|")
_ACTIONS = {
    Action.NOTE: "healthy: it is told",
    Action.DRAIN: "degraded: not sold",
    Action.DRAIN_LINKED: "degraded: not sold; a lease with several GPUs ends",
    Action.EVICT: "unhealthy: not sold, its lease ends",
}
_STOPS = {
    Stops.NEVER: "",
    Stops.ONE: "; the host bids on nothing",
    Stops.TWO: "; on two cards the host bids on nothing",
    Stops.EVERY: "; on every card the host bids on nothing",
}


def table() -> str:
    """Sorted by number, as the text around it speaks of them."""
    return "\n".join((*HEAD, *map(_line, sorted(ROWS, key=_place))))


def _place(row: Row) -> tuple[int, str, str]:
    first = "".join(letter for letter in row.number.split(",")[0] if letter.isdigit())
    return int(first or 0), row.number, row.signal


def _line(row: Row) -> str:
    follows = _ACTIONS[row.action] + _STOPS[row.stops]
    return f"| {row.number} | {words(row.signal)} | {row.seen} | {follows} | {row.clears_words} |"


def put_into(page: str) -> str:
    """``page`` with the table of today in the place of its own."""
    before, head, rest = page.partition(HEAD[0])
    assert head, "the page has the table"
    _, blank, after = rest.partition("\n\n")
    return before + table() + blank + after


if __name__ == "__main__":
    PAGE.write_text(put_into(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
