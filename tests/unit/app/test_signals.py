"""SIGHUP: kept from the beginning, answered once there is somebody to answer."""

from __future__ import annotations

import asyncio
import os
import signal

from provider.app.signals import at_each, hangups


def test_one_that_comes_before_anybody_looks_is_answered_then() -> None:
    async def body() -> None:
        acted = asyncio.Event()

        async def act() -> None:
            acted.set()

        with hangups() as asked:
            os.kill(os.getpid(), signal.SIGHUP)  # would end the process
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                looking = group.create_task(at_each(asked, act))
                await acted.wait()
                looking.cancel()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL

    asyncio.run(body())
