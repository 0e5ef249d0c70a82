"""Bytes of JSON as Go writes them, and the hash that names a manifest.

Owns escaping, key order and the sha256. Does not own what is in the JSON. Invariant:
``hash_of_json`` gives one answer for every spelling of the same JSON.

Sources: Go ``encoding/json`` (HTML escaping is on by default), cosmos-sdk ``SortJSON`` (unmarshal into
generic values, marshal again with sorted keys), Akash ``go/manifest/v2beta3/manifest.go`` ``Version``.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from provider.domain.errors import PeerError

MOST_JSON_BYTES = 1 << 20
DEEPEST_JSON = 32
"""Levels of nesting; a manifest has 10."""
_GO_ESCAPES = (
    ("<", "\\u003c"),
    (">", "\\u003e"),
    ("&", "\\u0026"),
    ("\u2028", "\\u2028"),
    ("\u2029", "\\u2029"),
)
_IN_ORDER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)
_SORTED = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, sort_keys=True)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class JsonInvalid(PeerError):
    """JSON from outside that is not what it should be. ``str()`` says where and why, without values."""


def go_json(tree: Any) -> bytes:
    """Compact JSON in the tree's own key order, with Go's escapes."""
    return _escaped(_IN_ORDER.encode(tree))


def sorted_json(tree: Any) -> bytes:
    """The same with keys sorted: what is hashed."""
    return _escaped(_SORTED.encode(tree))


def sha256_of(tree: Any) -> str:
    """64 hex digits: the sha256 of ``tree``'s sorted JSON."""
    return hashlib.sha256(sorted_json(tree)).hexdigest()


def hash_of_json(data: bytes) -> str:
    """The version of a manifest that came as JSON, 64 hex digits; ``JsonInvalid`` if it is none."""
    return sha256_of(parse_json(data))


def parse_json(data: bytes) -> Any:
    """Generic values, within ``MOST_JSON_BYTES`` and ``DEEPEST_JSON``; ``JsonInvalid`` otherwise.

    Doubled keys, NaN and infinities are refused: two readers could understand them differently.
    """
    if len(data) > MOST_JSON_BYTES:
        raise JsonInvalid(f"the JSON has {len(data):,} bytes", remedy=f"send at most {MOST_JSON_BYTES:,}")
    _bound_depth(data)
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_int=_integer
        )
    except UnicodeDecodeError as error:
        raise JsonInvalid(f"byte {error.start} of the JSON is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise JsonInvalid(f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error


def _bound_depth(data: bytes) -> None:
    """Counts brackets outside of strings. A string that never ends hides none that would be parsed."""
    depth = 0
    for each in _STRING.sub(b"", data):
        if each in b"[{":
            depth += 1
            if depth > DEEPEST_JSON:
                raise JsonInvalid(f"the JSON is nested deeper than {DEEPEST_JSON} levels")
        elif each in b"]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        raise JsonInvalid("a key stands twice in one object of the JSON")
    return tree


def _refuse(name: str) -> Any:
    raise JsonInvalid(f"{name} is not a number in JSON")


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise JsonInvalid("a number of the JSON has more than 20 digits")
    return int(digits)


def _escaped(text: str) -> bytes:
    for plain, escape in _GO_ESCAPES:
        if plain in text:
            text = text.replace(plain, escape)
    return text.encode("utf-8", "replace")
