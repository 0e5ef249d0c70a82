"""A lease's journal on its way to its tenant."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import grpc.aio

from provider.adapters.gateway.streams import closed_after, until_closing
from provider.domain.ids import LeaseId
from provider.domain.journal import WARNINGS, LeaseEvent
from provider.ports import Journal
from provider.rpc.fields import line
from provider.rpc.v1.lease_pb2 import StreamEventsResponse

_Context = grpc.aio.ServicerContext[Any, Any]


async def send_all(journal: Journal, lease: LeaseId, after: int, context: _Context) -> None:
    for event in journal.read(lease, after):
        await context.write(event_to_pb(event))


async def send_ever(
    journal: Journal, lease: LeaseId, after: int, context: _Context, closing: asyncio.Event
) -> None:
    """Until the lease's last one. ``Temporary`` when ``closing`` is set."""

    async def send() -> None:
        async with aclosing(closed_after(journal.follow(lease, after))) as events:
            async for event in events:
                await context.write(event_to_pb(event))

    await until_closing(send(), closing)


def event_to_pb(event: LeaseEvent) -> StreamEventsResponse:
    happening = event.happening
    return StreamEventsResponse(
        number=event.number,
        at_ms=happening.at,
        kind=happening.kind,
        service=happening.service,
        replica=happening.replica,
        text=line(happening.text),
        is_warning=happening.kind in WARNINGS,
    )
