"""Where the kernel keeps a container's figures: from ``/proc/PID/cgroup`` to folders.

Owns the layouts (cgroups(7)): version 2 alone, version 1, and both side by side, where each controller is in
one of them; engines that name groups themselves (``/docker/<id>``) or let systemd do it
(``/system.slice/docker-<id>.scope``). Invariant: a folder is only told if the container's id is in its name,
so that a process number that somebody else got meanwhile is never taken for the container.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CONTROLLERS = frozenset({"cpu", "cpuacct", "memory", "blkio"})
"""Of version 1, those that are read."""
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
"""A container's id, in whatever words the engine or systemd put around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Folders of one container that are there."""

    unified: str | None = None
    """Of version 2."""
    separate: Mapping[str, str] = field(default_factory=dict)
    """Of version 1, by controller."""

    @property
    def any(self) -> str:
        """A folder that lists its processes."""
        return self.unified or next(iter(self.separate.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """Why there is no place to look at, with what helps, one line."""

    why: str


def containers_in(cgroup_text: str) -> tuple[str, ...]:
    """Ids of the containers in whose groups a process is, outermost first, from its ``/proc/PID/cgroup``."""
    ids: dict[str, None] = {}
    for _, path in _groups(cgroup_text):
        ids.update(dict.fromkeys(_ID.findall(path)))
    return tuple(ids)


def place_of(cgroup_text: str, container: str, root: Path) -> Place | Hidden:
    """Of ``container``, whose first process has this ``/proc/PID/cgroup``; ``root`` is ``/sys/fs/cgroup``."""
    unified: str | None = None
    separate: dict[str, str] = {}
    is_outside = is_named = False
    for controllers, path in _groups(cgroup_text):
        group = _up_to(path, container)
        is_named |= group is not None
        is_outside |= path.startswith("/..")
        if group is None or group.startswith("/.."):
            continue
        if not controllers:
            unified = _existing(_unified_root(root), group)
        for name in set(controllers) & CONTROLLERS:
            # A joint hierarchy ("cpu,cpuacct") is mounted under the joint name, mostly with links beside it.
            folder = _existing(root / name, group) or _existing(root / ",".join(controllers), group)
            if folder is not None:
                separate[name] = folder
    if unified is not None or separate:
        return Place(unified=unified, separate=separate)
    if is_outside:
        return Hidden(
            why="the containers' control groups are outside of this program's own namespace: start it in the"
            " machine's, as a service, or with `docker run --cgroupns host`"
        )
    if not is_named:
        return Hidden(
            why="process numbers are not the machine's own: start this program in the machine's process"
            " namespace, as a service, or with `docker run --pid host`"
        )
    return Hidden(why=f"the containers' control groups are not below {root}: mount the machine's there")


def _groups(cgroup_text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Controllers and path of each line; version 2 has no controllers."""
    for line in cgroup_text.splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if colon:
            yield tuple(name for name in controllers.split(",") if name), path


def _up_to(path: str, container: str) -> str | None:
    """The part of ``path`` that is the container's own group: its processes may be in groups below."""
    parts = path.split("/")
    for number, part in enumerate(parts):
        if container in part:
            return "/".join(parts[: number + 1])
    return None


def _unified_root(root: Path) -> Path:
    return root / "unified" if (root / "unified" / "cgroup.controllers").exists() else root


def _existing(root: Path, group: str) -> str | None:
    folder = root / group.lstrip("/")
    return str(folder) if folder.is_dir() else None
