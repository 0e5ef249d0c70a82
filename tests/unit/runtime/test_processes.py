"""A process of ours ends: asked where it listens, killed where it does not."""

from __future__ import annotations

import asyncio
import signal
import sys

from provider.adapters.processes import end

DEAF = (
    "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
)
HEARS = "import sys; print(flush=True); sys.stdin.read()"


def ended(program: str, patience_s: float) -> int | None:
    async def body() -> int | None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()  # it is as deaf now as it will be
        await end(process, patience_s)
        await end(process, patience_s)  # again is fine
        return process.returncode

    return asyncio.run(body())


def test_it_is_asked_first() -> None:
    assert ended(HEARS, 60) == -signal.SIGTERM


def test_one_that_does_not_listen_is_killed() -> None:
    assert ended(DEAF, 0.05) == -signal.SIGKILL
