"""The watch over what containers write beside their volumes, and what is done about too much of it.

A container rents its writable layer (the volume ``default``); what it wrote there, and into the volumes that
its image declares, is measured and held against that. One that is over is ended at once, with a reason, and
made anew from its image by the next start. Logs are bounded by themselves and not counted.

Costs: free space of the disk is looked at every ``measure_s``; only when it fell, or after ``LOOK_LEAST_S``,
are layers walked (0.1 s for 20,000 files, twice), by ``du`` in a process of the lowest priority, and for at
most a twentieth of the time. Invariant: what could not be measured is no reason to end anything.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import structlog

from provider.adapters.runtime import containers, naming
from provider.adapters.runtime.engine import Engine
from provider.adapters.runtime.looks import Looks, Verdict
from provider.adapters.runtime.storage import attaching, evictions, volume
from provider.adapters.runtime.storage.volumes import Volumes
from provider.domain.errors import ProviderError
from provider.domain.ids import LeaseId
from provider.domain.moment import SECOND, Span, after
from provider.domain.resources import MIB
from provider.domain.workload import ExitCause
from provider.ports import Clock

log = structlog.get_logger()

FELL_BYTES = 16 * MIB
FELL_FILES = 4096
"""So much less free space, or so many fewer free inodes, are worth a look."""
LOOK_LEAST_S = 120
"""Without any sign, all the same: what one writes another may give back."""
SHARE = 20
"""A walk is not repeated before twenty times what it took."""
WALK_LIMIT_S = 60
BYTES_A_FILE = 4096
"""Of its rent, for each file or directory: inodes are used up as well."""
FILES_LEAST = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """A running container and what it rents."""

    id: str
    lease: LeaseId
    service: str
    replica: int
    rents_bytes: int
    layer: Path | None
    """Its writable layer on this machine; None where that cannot be seen from here."""
    volumes: tuple[Path, ...] = ()
    """Those of the engine's own, that an image declares."""


class OveruseWatch:
    """One watch for all containers of a provider."""

    def __init__(self, engine: Engine, clock: Clock, volumes: Volumes, looks: Looks) -> None:
        self._engine = engine
        self._clock = clock
        self._volumes = volumes
        self._looks = looks
        self._paths: dict[str, tuple[Path | None, tuple[Path, ...]]] = {}
        self._free: tuple[int, int] | None = None
        self._not_before_s = 0.0
        self._look_at_s = 0.0
        self.disk_bytes: Mapping[LeaseId, int] = {}
        """Layers and volumes of each lease whose containers could all be measured, as last measured."""

    def remember(self) -> None:
        """What an agent before this one ended."""
        for container, why in evictions.remembered(self._volumes.records.root).items():
            self._looks.judge(container, Verdict(cause=ExitCause.EVICTED, problem=why))

    async def run(self) -> None:
        """For ever. An engine that is away is looked at again later."""
        while True:
            wait = Span(round(self._volumes.settings.measure_s * SECOND))
            await self._clock.sleep_until(after(self._clock.now(), wait))
            try:
                await self.look()
            except ProviderError as failure:
                log.debug("layers_not_measured", problem=failure.what)

    async def look(self) -> None:
        """Measure if there is a reason to, and end what is over."""
        there = await self._engine.call("listing containers", self._tenancies)
        if there and self._is_due(there):
            began = self._now_s()
            used = await measure(each for each in there if each.layer is not None)
            used |= await self._engine_says(there, used)
            spent = self._now_s() - began
            self._not_before_s = self._now_s() + SHARE * spent
            self._look_at_s = self._now_s() + max(LOOK_LEAST_S, SHARE * spent)
            self._free = _free(there)
            for each in there:
                await self._judge(each, used)
            self.disk_bytes = await asyncio.to_thread(self._in_all, there, used)

    async def _judge(self, tenancy: Tenancy, used: Mapping[str, tuple[int, int]]) -> None:
        if tenancy.id not in used:
            return
        written, count = used[tenancy.id]
        written += await asyncio.to_thread(self._in_image_volumes, tenancy)
        files_most = max(FILES_LEAST, tenancy.rents_bytes // BYTES_A_FILE)
        if written > tenancy.rents_bytes:
            rents = _mib(tenancy.rents_bytes)
            why = f"wrote {_mib(written)} outside of its volumes, more than the {rents} it rents"
        elif count > files_most:
            why = f"made {count} files outside of its volumes, more than {files_most}"
        else:
            return
        folder = self._volumes.records.folder(tenancy.lease)
        await asyncio.to_thread(evictions.note, folder, tenancy.service, tenancy.replica, tenancy.id, why)
        self._looks.judge(tenancy.id, Verdict(cause=ExitCause.EVICTED, problem=why))
        log.warning("container_evicted", lease=str(tenancy.lease), service=tenancy.service, why=why)
        await self._engine.call("ending a container", lambda api: containers.kill(api, tenancy.id))

    def _in_all(self, there: Iterable[Tenancy], used: Mapping[str, tuple[int, int]]) -> Mapping[LeaseId, int]:
        layers: dict[LeaseId, list[int | None]] = {}
        for each in there:
            layers.setdefault(each.lease, []).append(used[each.id][0] if each.id in used else None)
        known = {lease: [size for size in sizes if size is not None] for lease, sizes in layers.items()}
        return {
            lease: sum(sizes) + self._in_volumes(lease)
            for lease, sizes in known.items()
            if len(sizes) == len(layers[lease])
        }

    def _in_volumes(self, lease: LeaseId) -> int:
        records = self._volumes.records
        used = 0
        for record in records.of(lease):
            with suppress(OSError):  # the lease is being stopped
                used += volume.used_bytes(records, record)
        return used

    def _in_image_volumes(self, tenancy: Tenancy) -> int:
        used = 0
        for record in self._volumes.records.of(tenancy.lease):
            mine = (record.service, record.replica) == (tenancy.service, tenancy.replica)
            place = self._volumes.records.mountpoint(record)
            if mine and record.generation and not record.is_reserved and os.path.ismount(place):
                used += attaching.used_bytes(place)
        return used

    def _is_due(self, there: Iterable[Tenancy]) -> bool:
        now = self._now_s()
        if now < self._not_before_s:
            return False
        free = _free(there)
        if self._free is None or free is None or now >= self._look_at_s:
            return True
        return self._free[0] - free[0] >= FELL_BYTES or self._free[1] - free[1] >= FELL_FILES

    def _now_s(self) -> float:
        return self._clock.now() / SECOND

    def _tenancies(self, client: docker.APIClient) -> list[Tenancy]:
        labels = containers.filters({naming.PROVIDER: self._engine.settings.provider})
        listed = client.containers(filters={"label": labels, "status": "running"})
        self._paths = {told["Id"]: self._paths[told["Id"]] for told in listed if told["Id"] in self._paths}
        found = []
        for told in listed:
            marks = told.get("Labels") or {}
            lease, rents = naming.lease_of(marks), naming.number(marks, naming.LAYER_BYTES)
            if lease is None or not rents:
                continue
            try:
                if told["Id"] not in self._paths:
                    self._paths[told["Id"]] = _paths(client, told["Id"])
            except docker.errors.NotFound:
                continue
            layer, volumes = self._paths[told["Id"]]
            found.append(
                Tenancy(
                    id=told["Id"],
                    lease=lease,
                    service=marks.get(naming.SERVICE, ""),
                    replica=naming.number(marks, naming.REPLICA),
                    rents_bytes=rents,
                    layer=layer,
                    volumes=volumes,
                )
            )
        return found

    async def _engine_says(
        self, there: Iterable[Tenancy], seen: Mapping[str, tuple[int, int]]
    ) -> Mapping[str, tuple[int, int]]:
        """Of those whose layer is out of our sight: the engine counts lengths, not blocks, but it counts."""
        blind = {each.id for each in there if each.layer is None} - set(seen)
        if not blind:
            return {}
        labels = containers.filters({naming.PROVIDER: self._engine.settings.provider})
        listed: list[dict[str, Any]] = await self._engine.call(
            "measuring containers", lambda api: api.containers(size=True, filters={"label": labels})
        )
        return {told["Id"]: (int(told.get("SizeRw") or 0), 0) for told in listed if told["Id"] in blind}


async def measure(tenancies: Iterable[Tenancy]) -> dict[str, tuple[int, int]]:
    """By container: bytes on the disk, and how many files. Those that could not be walked are missing."""
    by_path = {
        path: each.id for each in tenancies for path in (each.layer, *each.volumes) if path is not None
    }
    if not by_path:
        return {}
    sizes = await _walk(by_path, "--block-size=1")
    counts = await _walk(by_path, "--inodes")
    used: dict[str, tuple[int, int]] = {}
    for path, container in by_path.items():
        if path in sizes:
            size, count = used.get(container, (0, 0))
            used[container] = size + sizes[path], count + counts.get(path, 0)
    return used


async def _walk(paths: Iterable[Path], unit: str) -> dict[Path, int]:
    """``du`` follows no links, stays on the disk, and does not mind how deep or odd a tree is."""
    command = ("nice", "-n", "19", "du", "-s", "-x", "-0", unit, "--", *map(str, paths))
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(WALK_LIMIT_S):
            told, _ = await process.communicate()
    except TimeoutError:
        log.warning("layers_not_measured", problem=f"du did not end within {WALK_LIMIT_S} s")
        return {}
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    rows = (row.partition(b"\t") for row in told.split(b"\0") if row)
    return {Path(os.fsdecode(path)): int(number) for number, _, path in rows}


def _paths(client: docker.APIClient, container: str) -> tuple[Path | None, tuple[Path, ...]]:
    told = client.inspect_container(container)
    upper = ((told.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
    layer = Path(upper) if upper and Path(upper).is_dir() else None
    own = (each for each in told.get("Mounts") or [] if each.get("Type") == "volume")
    # What is a mount of its own has a size of its own, see ``attaching.used_bytes``.
    sources = (Path(each["Source"]) for each in own)
    return layer, tuple(each for each in sources if each.is_dir() and not os.path.ismount(each))


def _free(there: Iterable[Tenancy]) -> tuple[int, int] | None:
    """Bytes and inodes that are free on the disk of the layers."""
    layer = next((each.layer for each in there if each.layer is not None), None)
    try:
        facts = os.statvfs(layer) if layer is not None else None
    except OSError:
        return None
    return (facts.f_bfree * facts.f_frsize, facts.f_ffree) if facts else None


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.1f} MiB"
