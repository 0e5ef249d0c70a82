"""Log lines on their way to a tenant: from the runtime's batches to messages, no faster than they are read.

Owns how a followed log goes on when a container ends, is started again, replaced or added: each replica is
read from its own last line on, for as long as the lease is here. Does not own what is kept of a log.
Invariant: a slow reader holds ``WAITING_BYTES`` of our memory and no more; the engine keeps the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from itertools import groupby
from typing import Any

import grpc.aio

from provider.adapters.gateway.streams import closed_after, stopping_error
from provider.core.state import Lease
from provider.domain.errors import Permanent, Temporary
from provider.domain.ids import LeaseId
from provider.domain.moment import SECOND, Span, after
from provider.domain.workload import LogBatch
from provider.ports import Clock, LogRequest, Runtime
from provider.rpc.v1.lease_pb2 import StreamLogsResponse

WAITING_BYTES = 256 * 1024
"""Of one stream, between the runtime and gRPC; then the runtime is not read."""
MESSAGE_BYTES = 64 * 1024
"""Batches that wait together become one message up to this size."""
PAUSE_LEAST, PAUSE_MOST = Span(SECOND // 4), Span(5 * SECOND)
"""Between two looks for a container that has ended; doubles while nothing is written."""
_Context = grpc.aio.ServicerContext[Any, Any]


class Funnel:
    """Several who put batches in, one who takes what waits."""

    def __init__(self) -> None:
        self._batches: list[LogBatch] = []
        self._bytes = 0
        self._is_over = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    async def put(self, batch: LogBatch) -> None:
        """Waits for room."""
        while self._bytes >= WAITING_BYTES:
            self._room.clear()
            await self._room.wait()
        self._batches.append(batch)
        self._bytes += len(batch.text) + 8 * len(batch.at_ns)
        self._news.set()

    def end(self) -> None:
        """No more will come."""
        self._is_over = True
        self._news.set()

    async def take(self) -> list[LogBatch]:
        """All that waits, at least one; none once it is over."""
        while not self._batches and not self._is_over:
            self._news.clear()
            await self._news.wait()
        taken, self._batches, self._bytes = self._batches, [], 0
        self._room.set()
        return taken


class LogReader:
    """Reads the log of one lease. ``lease`` says how it is now, None once it is not here any more."""

    def __init__(self, runtime: Runtime, clock: Clock, lease: Callable[[], Lease | None]) -> None:
        self._runtime = runtime
        self._clock = clock
        self._lease = lease

    async def stream(
        self, lease: LeaseId, wanted: LogRequest, context: _Context, closing: asyncio.Event
    ) -> None:
        """Until all is told. ``Temporary`` when ``closing`` is set."""
        funnel = Funnel()
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(lease, wanted, funnel))
            writing = tasks.create_task(_write(funnel, context))
            stopping = tasks.create_task(closing.wait())
            await asyncio.wait({writing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, writing, stopping):
                task.cancel()
            if not writing.done():
                raise stopping_error()

    async def _read(self, lease: LeaseId, wanted: LogRequest, funnel: Funnel) -> None:
        if wanted.follow:
            await self._follow_all(lease, wanted, funnel)
        else:
            await self._copy(lease, wanted, funnel)
        funnel.end()

    async def _copy(self, lease: LeaseId, wanted: LogRequest, funnel: Funnel) -> None:
        async with aclosing(closed_after(self._runtime.logs(lease, wanted))) as batches:
            async for batch in batches:
                await funnel.put(batch)

    async def _follow_all(self, lease: LeaseId, wanted: LogRequest, funnel: Funnel) -> None:
        """Each replica by itself, those that an update adds too."""
        known: set[tuple[str, int]] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                here = self._lease()
                for service, number in replicas(here, wanted):
                    if (service, number) not in known:
                        known.add((service, number))
                        each = replace(wanted, service=service, replica=number)
                        tasks.create_task(self._follow(lease, each, funnel))
                if here is None:
                    break
                await self._wait(Span(SECOND))
        if not known:
            await self._copy(lease, replace(wanted, follow=False), funnel)

    async def _follow(self, lease: LeaseId, wanted: LogRequest, funnel: Funnel) -> None:
        """One replica, over all its lives."""
        began_ns = self._clock.now() * 1_000_000
        pause = PAUSE_LEAST
        while True:
            was_here = self._lease() is not None
            newest = 0
            try:
                async with aclosing(closed_after(self._runtime.logs(lease, wanted))) as batches:
                    async for batch in batches:
                        await funnel.put(batch)
                        newest = max(newest, *batch.at_ns)
                        wanted = replace(wanted, tail=None, since_ns=max(wanted.since_ns, newest))
            except (Permanent, Temporary):
                pass  # not there yet, or not any more, or the engine is away: none of it ends a log
            else:
                if wanted.tail is not None:  # what was asked for is told; from here on all counts
                    wanted = replace(wanted, tail=None, since_ns=max(wanted.since_ns, began_ns))
            if not was_here:
                return
            pause = PAUSE_LEAST if newest else Span(min(pause * 2, PAUSE_MOST))
            await self._wait(pause)

    async def _wait(self, span: Span) -> None:
        await self._clock.sleep_until(after(self._clock.now(), span))


def replicas(lease: Lease | None, wanted: LogRequest) -> list[tuple[str, int]]:
    """Those of ``lease`` that are wanted; none without a manifest."""
    group = lease.manifest.group(lease.group.name) if lease and lease.manifest else None
    return [
        (service.name, number)
        for service in (group.services if group else ())
        for number in range(service.count)
        if wanted.service in {None, service.name} and wanted.replica in {None, number}
    ]


async def _write(funnel: Funnel, context: _Context) -> None:
    while waiting := await funnel.take():
        for message in messages(waiting):
            await context.write(message)


def messages(batches: list[LogBatch]) -> list[StreamLogsResponse]:
    """As few as may be: neighbours of one stream go together."""
    made: list[StreamLogsResponse] = []
    for key, each in groupby(batches, key=lambda batch: (batch.service, batch.replica, batch.is_stderr)):
        texts: list[bytes] = []
        times: list[int] = []
        held = 0
        for batch in each:
            if times and held + len(batch.text) > MESSAGE_BYTES:
                made.append(_message(key, texts, times))
                texts, times, held = [], [], 0
            texts.append(batch.text)
            times.extend(batch.at_ns)
            held += len(batch.text)
        made.append(_message(key, texts, times))
    return made


def _message(key: tuple[str, int, bool], texts: list[bytes], times: list[int]) -> StreamLogsResponse:
    service, replica, is_stderr = key
    return StreamLogsResponse(
        service=service, replica=replica, is_stderr=is_stderr, text=b"\n".join(texts), at_ns=times
    )
