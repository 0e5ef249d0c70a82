"""``ports.UsageProbe`` on control groups and ``/proc``: a look costs files, not the engine's time.

Owns where the files of each container are, found once from its first process and kept while it runs. Does
not own what they mean (``books``), nor the layouts (``places``). Invariant: everything is read in one thread
beside the event loop; nothing is written, nothing is followed out of the given roots but links in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from provider.adapters.usage import books, places
from provider.adapters.usage.block_devices import BlockDevices
from provider.adapters.usage.places import Hidden, Place
from provider.adapters.usage.process_io import ProcessIo
from provider.domain.usage import ContainerReading, ContainersRead
from provider.domain.workload import Container, ContainerState


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    """Where the kernel shows itself."""

    proc: Path = Path("/proc")
    cgroup: Path = Path("/sys/fs/cgroup")
    block: Path = Path("/sys/dev/block")


class CgroupUsage:
    """Of one machine."""

    def __init__(self, roots: Roots | None = None) -> None:
        self._roots = roots or Roots()
        self._devices = BlockDevices(self._roots.block)
        self._process_io = ProcessIo(str(self._roots.proc), books.read)
        self._places: dict[tuple[str, int], Place] = {}

    async def read(self, containers: Sequence[Container]) -> ContainersRead:
        return await asyncio.to_thread(self.read_now, containers)

    def read_now(self, containers: Sequence[Container]) -> ContainersRead:
        """The same, in the caller's thread."""
        running = [
            (each.id, each.pid)
            for each in containers
            if each.state is ContainerState.RUNNING and each.pid is not None
        ]
        self._places = {key: self._places[key] for key in running if key in self._places}
        self._process_io.keep_only({f"{container}/{pid}" for container, pid in running})
        readings: dict[str, ContainerReading] = {}
        problem = None
        for container, pid in running:
            place = self._place(container, pid)
            if isinstance(place, Hidden):
                problem = problem or place.why
            elif place is not None:
                process = f"{self._roots.proc}/{pid}"
                by_processes = partial(self._process_io.figures, f"{container}/{pid}")
                told = books.reading(place, process, self._devices.stacked, by_processes)
                if told is None:
                    del self._places[container, pid]
                else:
                    readings[container] = told
        return ContainersRead(readings=readings, problem=problem)

    def _place(self, container: str, pid: int) -> Place | Hidden | None:
        """None where it has ended."""
        known = self._places.get((container, pid))
        if known is not None:
            return known
        text = books.read(f"{self._roots.proc}/{pid}/cgroup")
        if not text:
            return None
        place = places.place_of(text.decode("utf-8", "replace"), container, self._roots.cgroup)
        if isinstance(place, Place):
            self._places[container, pid] = place
        return place

    def containers_of(self, pid: int) -> tuple[str, ...]:
        text = books.read(f"{self._roots.proc}/{pid}/cgroup")
        return places.containers_in(text.decode("utf-8", "replace")) if text else ()
