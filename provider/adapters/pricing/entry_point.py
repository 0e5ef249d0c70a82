"""The process in which a function of the operator's makes a price: ``python -m ... module:function``.

Runs in a process of its own, one a question, so that whatever the function does stays there. The question
is JSON on standard input, the answer JSON on standard output; what the function prints goes to standard
error. With ``--check`` nothing is asked: only whether the function is there.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TextIO

USAGE, UNUSABLE = 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the function is called with. Money is in whole units of the currency that ``pricing:`` is
    written in."""

    order: str
    """``owner/dseq/gseq/oseq``."""
    owner: str
    denom: str
    """Of the order."""
    resources: tuple[Mapping[str, Any], ...]
    """Each unit as Akash's price scripts see it."""
    gpus: tuple[Mapping[str, Any], ...]
    """The cards that are held for it: ``uuid``, ``model``, ``memory_bytes``, ``interface``, ``mig``,
    ``watts``."""
    floor_hour: Decimal
    """What it costs: the bid is raised to this."""
    maximum_hour: Decimal
    """The order's highest price: above it there is no bid."""


Answer = Decimal | int | tuple[None, str] | None
"""A price an hour; or None, alone or with a reason."""
Function = Callable[[Asked], Answer]


def find(entry: str) -> Function:
    """``LookupError`` in one line where there is no such function."""
    name, _, attribute = entry.partition(":")
    try:
        found = getattr(importlib.import_module(name), attribute)
    except ImportError as error:
        raise LookupError(f"{entry}: {name} cannot be imported: {error}") from error
    except AttributeError as error:
        raise LookupError(f"{entry}: there is no {attribute} in {name}") from error
    if not callable(found):
        raise LookupError(f"{entry}: {attribute} is no function")  # noqa: TRY004 - one error for the caller
    function: Function = found
    return function


def asked(text: str) -> Asked:
    """The question as a value."""
    tree = json.loads(text, parse_float=Decimal)
    told = {each.name: tree[each.name] for each in fields(Asked)}
    for name in ("resources", "gpus"):
        told[name] = tuple(MappingProxyType(each) for each in told[name])
    for name in ("floor_hour", "maximum_hour"):
        told[name] = Decimal(told[name])
    return Asked(**told)


def told(answer: object) -> dict[str, str]:
    """The answer as JSON has it: a price, or why there is none."""
    match answer:
        case None:
            return {"refused": "the function gave no price"}
        case (None, str(why)):
            return {"refused": why}
        case bool() | float():
            return {"refused": f"the function returned {answer!r}: a price is a Decimal"}
        case Decimal() | int():
            return {"hour": f"{Decimal(answer):f}" if Decimal(answer).is_finite() else str(answer)}
        case _:
            return {"refused": f"the function returned a {type(answer).__name__}: a price is a Decimal"}


def main(arguments: list[str], out: TextIO) -> int:
    """Answer on ``out``."""
    is_check = arguments[:1] == ["--check"]
    try:
        (entry,) = arguments[is_check:]
        function = find(entry)
    except ValueError:
        sys.stderr.write("one function, written module:function\n")
        return USAGE
    except LookupError as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE
    if not is_check:
        json.dump(told(function(asked(sys.stdin.read()))), out)
    return 0


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr
    raise SystemExit(main(sys.argv[1:], answers))
