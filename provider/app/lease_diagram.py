"""Makes ``docs/lease.md`` from the lease machine's tables: ``python -m provider.app.lease_diagram``.

Owns the page's form. What is in it comes from ``core/lease.py`` alone: the tables, and the line that stands
under each name there.
"""

from __future__ import annotations

import ast
import inspect
from enum import StrEnum
from itertools import pairwise
from pathlib import Path

from provider.core import lease
from provider.core.lease import MOVES, STALE, Phase, Trigger

PAGE = Path("docs/lease.md")

_HEAD = """\
# The life of a lease

Made from `provider/core/lease.py` by `python -m provider.app.lease_diagram`; a test holds it. What entering a
phase makes the agent do is in `provider/core/leasing.py`.
"""


def page() -> str:
    """The whole page, Markdown with a Mermaid diagram."""
    return "\n".join((_HEAD, _diagram(), _words("Phase", Phase), _words("Trigger", Trigger), _product()))


def _diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Phase.AWARDED}: confirmed"]
    for before in Phase:
        for after in Phase:
            by = [trigger.value for trigger, target in MOVES[before].items() if target is after]
            if by:
                lines.append(f"    {before} --> {after}: {', '.join(by)}")
    return "\n".join((*lines, f"    {Phase.CLOSED} --> [*]", "```", ""))


def _words(title: str, names: type[StrEnum]) -> str:
    meanings = _meanings(title)
    rows = [f"| `{name.value}` | {meanings.get(name.name, '')} |" for name in names]
    return "\n".join((f"| {title.lower()} | |", "|---|---|", *rows, ""))


def _meanings(title: str) -> dict[str, str]:
    """The text under each member of the enumeration, in one line."""
    tree = ast.parse(inspect.getsource(lease))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == title)
    found = {}
    for name, text in pairwise(body):
        match name, text:
            case ast.Assign(targets=[ast.Name(id=member)]), ast.Expr(value=ast.Constant(value=str(meaning))):
                found[member] = " ".join(meaning.split())
            case _:
                pass
    return found


def _product() -> str:
    """Every pair: where it leads, ``-`` where it is stale and changes nothing, nothing where it cannot be."""
    rows = ["| | " + " | ".join(phase.value for phase in Phase) + " |", "|---|" + "---|" * len(Phase)]
    for trigger in Trigger:
        cells = (_cell(phase, trigger) for phase in Phase)
        rows.append(f"| `{trigger.value}` | " + " | ".join(cells) + " |")
    foot = "`-`: late or doubled, changes nothing. Empty: cannot be; it raises, and nothing has changed."
    return "\n".join((*rows, "", foot, ""))


def _cell(phase: Phase, trigger: Trigger) -> str:
    moved = MOVES[phase].get(trigger)
    return moved.value if moved is not None else "-" if (phase, trigger) in STALE else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
