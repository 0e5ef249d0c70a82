"""How a process that we started ends: asked first, then killed."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from contextlib import suppress


async def end(process: Process, patience_s: float) -> None:
    """SIGTERM, ``patience_s``, SIGKILL; returns once it is gone, at once where it is already."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(patience_s):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
