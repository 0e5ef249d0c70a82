"""Launches and waiting, for the tests of everything that runs containers."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from provider.domain.ids import GpuUuid, LeaseId, Owner, ProviderId
from provider.domain.manifest import Service
from provider.domain.resources import MIB, Resources, Volume
from provider.domain.workload import Launch, LogBatch, LogLine, PortBinding, ReplicaLaunch

T = TypeVar("T")

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
"""Which of several test processes this is, or is a child of; empty where there is one."""
IMAGE = f"gp-test/hello-gpu{WORKER and '-' + WORKER}:1"
"""Made by the fixture ``hello_image``."""
BOUND_S = 30.0
_numbers = itertools.count(1)


def lease_id(provider: str = "p1") -> LeaseId:
    """A lease of its own for each caller, also beside another run of the tests."""
    return LeaseId(
        owner=Owner("alice"),
        dseq=os.getpid() * 1000 + next(_numbers),
        gseq=1,
        oseq=1,
        provider=ProviderId(provider),
    )


def service(name: str = "web", script: str | None = "sleep 3600", **changes: object) -> Service:
    """Of the test image, running ``sh -c script``; None for what the image runs by itself."""
    fields: dict[str, object] = {
        "name": name,
        "image": IMAGE,
        "command": None if script is None else ("sh", "-c", script),
        "resources": Resources(
            id=1,
            cpu_millis=500,
            memory_bytes=64 * MIB,
            storage=(Volume(name="default", size_bytes=64 * MIB),),
        ),
    }
    return Service(**(fields | changes))  # type: ignore[arg-type]


def replica(of: Service, number: int = 0, *, gpus: tuple[str, ...] = (), host_port: int = 0) -> ReplicaLaunch:
    """One container of ``of``; with a ``host_port`` its port 8080 is published there."""
    port = PortBinding(service=of.name, port=8080, host_port=host_port, external_port=80)
    return ReplicaLaunch(
        service=of,
        replica=number,
        gpus=tuple(GpuUuid(uuid) for uuid in gpus),
        ports=(port,) if host_port else (),
    )


def launch(*replicas: ReplicaLaunch, lease: LeaseId | None = None, generation: int = 1) -> Launch:
    """All of its containers changed in ``generation``."""
    wanted = replicas or (replica(service()),)
    return Launch(
        lease=lease or lease_id(),
        generation=generation,
        replicas=tuple(replace(each, generation=generation) for each in wanted),
        simulated_gpus=True,
    )


async def eventually(read: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """What ``read`` gives once it ``holds``; ``TimeoutError`` when that does not come."""
    async with asyncio.timeout(BOUND_S):
        while True:
            value = await read()
            if holds(value):
                return value
            await asyncio.sleep(0.01)


async def take(items: AsyncIterator[T], count: int) -> list[T]:
    """The first ``count`` items."""
    taken: list[T] = []
    async with asyncio.timeout(BOUND_S):
        while len(taken) < count:
            taken.append(await anext(items))
    return taken


async def collect(items: AsyncIterator[T]) -> list[T]:
    """All items of what ends by itself."""
    async with asyncio.timeout(BOUND_S):
        return [item async for item in items]


async def take_lines(batches: AsyncIterator[LogBatch], count: int) -> list[LogLine]:
    """The first ``count`` lines, and those that came with the last of them."""
    taken: list[LogLine] = []
    async with asyncio.timeout(BOUND_S):
        while len(taken) < count:
            taken += (await anext(batches)).lines()
    return taken


async def collect_lines(batches: AsyncIterator[LogBatch]) -> list[LogLine]:
    """All lines of a log that ends by itself."""
    return [line for batch in await collect(batches) for line in batch.lines()]
