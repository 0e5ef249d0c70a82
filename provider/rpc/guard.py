"""The one interceptor of every server: deadlines, and errors as ``rpc.status`` writes them.

A servicer raises ``domain.errors`` and never sees a status code. Handlers of all four kinds become
coroutines that write to the context, since an async generator hides where it was when its caller left.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
from grpc import StatusCode

from provider.domain.errors import ProviderError
from provider.rpc.settings import DEADLINE_S
from provider.rpc.status import Denied, abort

_Context = grpc.aio.ServicerContext[Any, Any]
_Handler = Callable[[Any, _Context], Any]
_Coroutine = Callable[[Any, _Context], Awaitable[Any]]


class Guard(grpc.aio.ServerInterceptor):
    """``requires_deadline``: refuse unary calls that name none (members of the market always do).

    Where it is not required, ``deadline_s`` is the default.
    """

    def __init__(self, *, requires_deadline: bool = True, deadline_s: float = DEADLINE_S) -> None:
        self._requires_deadline = requires_deadline
        self._deadline_s = deadline_s
        self._made: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        """One a method: making it anew for each call took a tenth of a bid's way (measured)."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        known = self._made.get(handler_call_details.method)
        if known is not None:
            return known
        handler: Any = await continuation(handler_call_details)
        if handler is None:  # no such method: gRPC answers UNIMPLEMENTED
            return None
        make, inner = _parts(handler)
        behaviour = _told(_as_coroutine(inner))
        if make is grpc.unary_unary_rpc_method_handler:
            behaviour = self._timed(behaviour)
        made: grpc.RpcMethodHandler[Any, Any] = make(
            behaviour, handler.request_deserializer, handler.response_serializer
        )
        self._made[handler_call_details.method] = made
        return made

    def _timed(self, inner: _Coroutine) -> _Coroutine:
        async def call(request: Any, context: _Context) -> Any:
            if context.time_remaining() is not None:
                return await inner(request, context)
            if self._requires_deadline:
                await abort(
                    context,
                    Denied(
                        StatusCode.INVALID_ARGUMENT,
                        "DEADLINE_REQUIRED",
                        "this call has no deadline",
                        remedy=f"set a timeout, {self._deadline_s:.0f} s is plenty",
                    ),
                )
            try:
                async with asyncio.timeout(self._deadline_s):
                    return await inner(request, context)
            except TimeoutError:
                await context.abort(StatusCode.DEADLINE_EXCEEDED, f"took over {self._deadline_s:.0f} s")

        return call


def _parts(handler: Any) -> tuple[Callable[..., Any], _Handler]:
    match handler.request_streaming, handler.response_streaming:
        case False, False:
            return grpc.unary_unary_rpc_method_handler, handler.unary_unary
        case False, True:
            return grpc.unary_stream_rpc_method_handler, handler.unary_stream
        case True, False:
            return grpc.stream_unary_rpc_method_handler, handler.stream_unary
        case _:
            return grpc.stream_stream_rpc_method_handler, handler.stream_stream


def _as_coroutine(inner: _Handler) -> _Coroutine:
    if not inspect.isasyncgenfunction(inner):
        return inner

    async def call(request: Any, context: _Context) -> None:
        responses = inner(request, context)
        try:
            async for response in responses:
                await context.write(response)
        finally:
            await responses.aclose()

    return call


def _told(inner: _Coroutine) -> _Coroutine:
    """Failures as ``rpc.status``; those of a handler's task group too, and of these the first."""

    async def call(request: Any, context: _Context) -> Any:
        try:
            return await inner(request, context)
        except (ProviderError, grpc.aio.InternalError) as error:
            failures: tuple[BaseException, ...] = (error,)
        except BaseExceptionGroup as group:
            failures = tuple(_flat(group))
            if not all(isinstance(each, ProviderError | grpc.aio.InternalError) for each in failures):
                raise
        told = [each for each in failures if isinstance(each, ProviderError)]
        if len(told) < len(failures):
            # A write whose reader has gone: gRPC would log it as the servicer's own error.
            raise asyncio.CancelledError
        try:
            return await abort(context, told[0])
        except grpc.aio.InternalError:
            raise asyncio.CancelledError from None  # nobody is left to be told

    return call


def _flat(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _flat(each)
        else:
            yield each
