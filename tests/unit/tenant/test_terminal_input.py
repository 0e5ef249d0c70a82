"""A command that ends before all of its input was sent: its answers count, not the write that failed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from provider.app.terminal import pump
from provider.rpc.v1.lease_pb2 import ExecResponse

TOO_LATE = grpc.aio.AioRpcError(
    grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), "Internal error from Core"
)


class Ended:
    """A call that takes no write any more and has its answers ready."""

    def __init__(self) -> None:
        self.tried = asyncio.Event()

    async def write(self, _request: object) -> None:
        self.tried.set()
        raise TOO_LATE

    async def done_writing(self) -> None:
        raise AssertionError("nothing was written")

    async def __aiter__(self) -> AsyncIterator[ExecResponse]:
        await self.tried.wait()
        yield ExecResponse(exit_code=7)


def test_a_write_that_comes_too_late_does_not_hide_the_exit_status() -> None:
    read, write = os.pipe()
    os.close(write)

    async def main() -> int:
        call: Any = Ended()
        return await pump(call, with_tty=False)

    with os.fdopen(read) as empty:
        before, sys.stdin = sys.stdin, empty
        try:
            assert asyncio.run(main()) == 7
        finally:
            sys.stdin = before
