"""Habits of every stream here: its source is closed when it ends, and a stopping server says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import TypeVar

from provider.domain.errors import Temporary

T = TypeVar("T")


async def closed_after(source: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The items of ``source``, which is closed as soon as this is: to be used under ``aclosing``."""
    try:
        async for item in source:
            yield item
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def until_closing(sending: Coroutine[None, None, None], closing: asyncio.Event) -> None:
    """``sending``, to its end. ``Temporary`` when ``closing`` is set before that."""
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(sending)
        stopping = tasks.create_task(closing.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, stopping):
            task.cancel()
        if not work.done():
            raise stopping_error()


def stopping_error() -> Temporary:
    """For streams that a stopping server ends."""
    return Temporary("the provider is stopping", remedy="try again in a moment")
