"""Two habits of every stream here: its source is closed when it ends, and a stopping server says so."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
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


def stopping_error() -> Temporary:
    """For streams that a stopping server ends."""
    return Temporary("the provider is stopping", remedy="try again in a moment")
