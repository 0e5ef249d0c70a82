"""``ports.UsageProbe`` on control groups and ``/proc``: a look costs files, not the engine's time.

Owns where the files of each container are, found once from its first process and kept while it runs. Does
not own what they mean (``books``), nor the layouts (``places``). Invariant: everything is read in one thread
beside the event loop; nothing is written, nothing is followed out of the given roots but links in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from provider.adapters.usage import books, places
from provider.adapters.usage.block_devices import BlockDevices
from provider.adapters.usage.places import Hidden, Place
from provider.adapters.usage.process_io import ProcessIo
from provider.domain.usage import ContainerReading, ContainersRead, UsageCounter
from provider.domain.workload import Container, ContainerState

LIMIT_EVERY = 30
"""Looks after which a limit is read again: a minute. It changes when somebody changes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """Where the kernel shows itself."""

    proc: Path = Path("/proc")
    cgroup: Path = Path("/sys/fs/cgroup")
    block: Path = Path("/sys/dev/block")


@dataclass(slots=True, kw_only=True)
class _Watched:
    """What is known of one run of a container."""

    place: Place
    process: str
    """Its first process's folder."""
    limit_bytes: int | None
    limit_is_for: int
    """More looks."""


class CgroupUsage:
    """Of one machine."""

    def __init__(self, roots: Roots | None = None) -> None:
        self._roots = roots or Roots()
        self._devices = BlockDevices(self._roots.block)
        self._process_io = ProcessIo(str(self._roots.proc), books.read)
        self._watched: dict[tuple[str, int], _Watched] = {}

    async def read(self, containers: Sequence[Container]) -> ContainersRead:
        return await asyncio.to_thread(self.read_now, containers)

    def read_now(self, containers: Sequence[Container]) -> ContainersRead:
        """The same, in the caller's thread."""
        running = [
            (each.id, each.pid)
            for each in containers
            if each.state is ContainerState.RUNNING and each.pid is not None
        ]
        self._watched = {key: self._watched[key] for key in running if key in self._watched}
        self._process_io.keep_only({f"{container}/{pid}" for container, pid in running})
        readings: dict[str, ContainerReading] = {}
        problem = None
        for container, pid in running:
            found = self._watched.get((container, pid)) or self._found(container, pid)
            if isinstance(found, Hidden):
                problem = problem or found.why
            elif found is not None:
                told = self._reading(found, f"{container}/{pid}")
                if told is None:
                    self._watched.pop((container, pid), None)
                else:
                    self._watched[container, pid] = found
                    readings[container] = told
        return ContainersRead(readings=readings, problem=problem)

    def _found(self, container: str, pid: int) -> _Watched | Hidden | None:
        """None where it has ended."""
        text = books.read(f"{self._roots.proc}/{pid}/cgroup")
        if not text:
            return None
        place = places.place_of(text.decode("utf-8", "replace"), container, self._roots.cgroup)
        if isinstance(place, Hidden):
            return place
        process = f"{self._roots.proc}/{pid}"
        return _Watched(place=place, process=process, limit_bytes=None, limit_is_for=0)

    def _reading(self, of: _Watched, run: str) -> ContainerReading | None:
        if of.limit_is_for == 0:
            of.limit_bytes, of.limit_is_for = books.memory_limit(of.place), LIMIT_EVERY
        of.limit_is_for -= 1
        told = books.reading(of.place, of.process, of.limit_bytes)
        if told is None:
            return None
        io = books.block_io(of.place, self._devices.stacked) or self._process_io.figures(run, of.place.any)
        if io is None:
            return told
        names = (UsageCounter.READ_BYTES, UsageCounter.WRITTEN_BYTES)
        return replace(told, counters={**told.counters, **dict(zip(names, io, strict=True))})

    def containers_of(self, pid: int) -> tuple[str, ...]:
        text = books.read(f"{self._roots.proc}/{pid}/cgroup")
        return places.containers_in(text.decode("utf-8", "replace")) if text else ()
