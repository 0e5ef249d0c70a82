"""Two habits of every stream here: its source is closed when it ends, and its failure is one error."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import TypeVar

from provider.domain.errors import ProviderError, Temporary

T = TypeVar("T")


async def closed_after(source: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The items of ``source``, which is closed as soon as this is: to be used under ``aclosing``."""
    try:
        async for item in source:
            yield item
    finally:
        if isinstance(source, AsyncGenerator):
            await source.aclose()


async def one_error(streaming: Awaitable[None]) -> None:
    """Await ``streaming``; of a group of ``ProviderError``s the first comes out, all else as it is."""
    try:
        await streaming
    except BaseExceptionGroup as group:
        known, others = group.split(ProviderError)
        if known is None or others is not None:
            raise
        raise _first(known) from None


def stopping_error() -> Temporary:
    """For streams that a stopping server ends."""
    return Temporary("the provider is stopping", remedy="try again in a moment")


def _first(group: BaseExceptionGroup[ProviderError]) -> ProviderError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
