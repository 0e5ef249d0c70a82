"""Calls that are always cancelled: the only way in which this project makes one.

Since grpcio 1.83 a call that is dropped without ``cancel()`` is never collected and its handler runs
until the channel closes (grpc#43462; measured on 1.85.1: 50 of 50). Closing a channel cancels its
calls, and gRPC reports that as ``CancelledError`` in whoever awaits one: here it becomes
``Temporary``, and only a real cancellation of the task passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import grpc
import grpc.aio

from provider.domain.errors import Temporary
from provider.rpc.status import error_from_rpc


class Cancellable(Protocol):
    def cancel(self) -> bool: ...


_CLOSED = "the call was given up: its connection was closed"
Response = TypeVar("Response")
Call = TypeVar("Call", bound=Cancellable)


async def unary(call: grpc.aio.UnaryUnaryCall[Any, Response]) -> Response:
    """The answer to ``call``, which was made with a timeout; a failure as ``domain.errors``."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error) from error
    except asyncio.CancelledError:
        if is_task_cancelled():
            raise
        raise Temporary(_CLOSED) from None
    finally:
        call.cancel()


@asynccontextmanager
async def cancelled_after(call: Call) -> AsyncIterator[Call]:
    """``call`` for the length of the block, then cancelled, however it ends; errors as ``domain.errors``."""
    try:
        yield call
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error) from error
    except asyncio.CancelledError:
        if is_task_cancelled():
            raise
        raise Temporary(_CLOSED) from None
    finally:
        call.cancel()


@asynccontextmanager
async def cancelled_on_failure(call: Call) -> AsyncIterator[Call]:
    """``call`` for one question of several: cancelled where the block fails, open where it does not."""
    try:
        yield call
    except BaseException:
        async with cancelled_after(call):
            raise


def is_task_cancelled() -> bool:
    """Whether it is this task that was cancelled, and not a call alone."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
