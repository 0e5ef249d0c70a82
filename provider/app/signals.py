"""Signals: SIGTERM or SIGINT asks a daemon to end, a second one does not wait; SIGHUP to read its file
again."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

_ASKING = (signal.SIGTERM, signal.SIGINT)


async def until_signalled() -> None:
    """Return at the first signal; from then on they have their usual effect again."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for number in _ASKING:
        loop.add_signal_handler(number, asked.set)
    try:
        await asked.wait()
    finally:
        for number in _ASKING:
            loop.remove_signal_handler(number)


@contextmanager
def hangups() -> Iterator[asyncio.Event]:
    """Set at each SIGHUP from now on, which else would end the process."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    try:
        yield asked
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def at_each(asked: asyncio.Event, act: Callable[[], Awaitable[object]]) -> None:
    """``act`` each time that it is ``asked``, one after the other, for ever. Several meanwhile are one."""
    while True:
        await asked.wait()
        asked.clear()
        await act()
