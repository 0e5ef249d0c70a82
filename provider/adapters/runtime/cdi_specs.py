"""CDI specs as this machine has them: which devices they name, and what a container gets with each.

Read, never written here. Format: the Container Device Interface specification, "CDI JSON/YAML". Files are
read again only when they change, since NVIDIA's are long and every start of a container looks.

Invariant: a spec that cannot be read names nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import yaml

SUFFIXES = frozenset({".json", ".yaml", ".yml"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What one file says of one kind."""

    devices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Paths in the container of each device's nodes, by the device's name."""
    common: tuple[str, ...] = ()
    """Those that come with any device of it."""
    has_hooks: bool = False
    """Whether programs of the host run while a container with its devices is made."""


def devices(dirs: tuple[str, ...], kind: str) -> dict[str, tuple[str, ...]]:
    """Device nodes by device name, of ``kind``, over all specs in ``dirs``: its own, then the common ones."""
    return {name: nodes + spec.common for spec in _specs(dirs, kind) for name, nodes in spec.devices.items()}


def has_hooks(dirs: tuple[str, ...], kind: str) -> bool:
    return any(spec.has_hooks for spec in _specs(dirs, kind))


def _specs(dirs: tuple[str, ...], kind: str) -> Iterator[Spec]:
    for path in (path for place in dirs for path in sorted(Path(place).glob("*"))):
        try:
            stamp = path.stat()
        except OSError:
            continue
        if path.suffix in SUFFIXES:
            yield _read(path, kind, (stamp.st_mtime_ns, stamp.st_size))


@lru_cache(maxsize=64)
def _read(path: Path, kind: str, _stamp: tuple[int, int]) -> Spec:
    try:
        told = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe loaders
    except (OSError, ValueError, yaml.YAMLError):
        return Spec()
    if not isinstance(told, dict) or told.get("kind") != kind:
        return Spec()
    common = told.get("containerEdits")
    each_edits = {
        str(each.get("name")): each.get("containerEdits")
        for each in _items(told.get("devices"))
        if isinstance(each, dict)
    }
    return Spec(
        devices={name: _nodes(edits) for name, edits in each_edits.items()},
        common=_nodes(common),
        has_hooks=any(
            isinstance(edits, dict) and bool(edits.get("hooks")) for edits in (common, *each_edits.values())
        ),
    )


def _nodes(edits: object) -> tuple[str, ...]:
    listed = _items(edits.get("deviceNodes")) if isinstance(edits, dict) else []
    return tuple(str(node["path"]) for node in listed if isinstance(node, dict) and "path" in node)


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []
