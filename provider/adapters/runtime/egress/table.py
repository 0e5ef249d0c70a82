"""A table as the kernel holds it: read, and compared by what it does.

Invariant: two readings have the same fingerprint exactly when chains, hooks, rules and fixed sets are the
same, in the same order. Elements that follow the leases, counters and the kernel's own handles do not count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from provider.adapters.runtime.egress.ruleset import Elements
from provider.domain.errors import Temporary

FOLLOWING = ("leases", "own", "published")
"""Sets whose elements come and go with leases (``ruleset.elements``)."""
COUNTING = ("connections", "upload")
"""Sets that the kernel fills by itself."""
_PASSING = frozenset({"handle", "elem"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one reading found."""

    fingerprint: str
    elements: Elements


def parse(text: str) -> Seen:
    """From ``nft -j list table`` (libnftables-json(5)). ``Temporary`` where it is something else."""
    try:
        objects: list[dict[str, Any]] = json.loads(text)["nftables"]
        fixed = [_fixed(kind, told) for each in objects for kind, told in each.items() if kind in _FIXED]
        held = {
            told["name"]: frozenset(map(_written, told.get("elem", ())))
            for each in objects
            for kind, told in each.items()
            if kind == "set" and told["name"] in FOLLOWING
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Temporary(
            f"nft lists tables in a form that is not known here: {error}",
            remedy="install nftables 1.0 or newer",
        ) from error
    digest = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
    return Seen(fingerprint=digest, elements=held)


_FIXED = ("chain", "rule", "set")


def _fixed(kind: str, told: Mapping[str, Any]) -> list[object]:
    kept: dict[str, Any] = {key: value for key, value in told.items() if key not in _PASSING}
    if kind == "set" and told["name"] not in (*FOLLOWING, *COUNTING):
        kept["elem"] = sorted(json.dumps(each, sort_keys=True) for each in told.get("elem", ()))
    return [kind, kept]


def _written(element: Any) -> str:
    """As ``ruleset.elements`` writes it."""
    if isinstance(element, dict):
        return " . ".join(_words(element["concat"]))
    return f'"{element}"'


def _words(parts: Iterable[object]) -> Iterable[str]:
    for part in parts:
        yield f'"{part}"' if isinstance(part, str) and part not in {"tcp", "udp"} else str(part)
