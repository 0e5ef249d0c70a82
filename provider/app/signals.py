"""The end of a daemon: SIGTERM or SIGINT asks for it, a second one does not wait."""

from __future__ import annotations

import asyncio
import signal

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
