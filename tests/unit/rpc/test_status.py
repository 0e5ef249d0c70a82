"""Errors over the wire and back: the same two lines, the same answer to "may I try again"."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from provider.domain.errors import ConfigError, PeerError, Permanent, ProviderError, Temporary
from provider.domain.moment import Span
from provider.rpc.calls import cancelled_after, unary
from provider.rpc.guard import Guard
from provider.rpc.settings import bind_unix, server, unix_channel
from provider.rpc.status import _KINDS, Denied
from provider.rpc.v1 import operator_pb2 as pb
from provider.rpc.v1.operator_pb2_grpc import (
    OperatorServiceServicer,
    OperatorServiceStub,
    add_OperatorServiceServicer_to_server,
)
from provider.sim.waiting import until

Answer = Callable[[], Awaitable[pb.GetStatusResponse]]


class Servicer(OperatorServiceServicer):
    """Answers with whatever ``answer`` does."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.running = 0

    async def GetStatus(self, request: Any, context: Any) -> pb.GetStatusResponse:  # noqa: N802
        self.running += 1
        try:
            return await self._answer()
        finally:
            self.running -= 1

    async def StreamStatus(self, request: Any, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        raise AssertionError("nobody asks for it here")

    async def CloseLease(self, request: Any, context: Any) -> pb.CloseLeaseResponse:  # noqa: N802
        raise AssertionError("nobody asks for it here")

    async def Reload(self, request: Any, context: Any) -> pb.ReloadResponse:  # noqa: N802
        raise AssertionError("not called here")

    async def SetDrain(self, request: Any, context: Any) -> pb.SetDrainResponse:  # noqa: N802
        raise AssertionError("nobody asks for it here")

    async def GetGpuHealth(self, request: Any, context: Any) -> pb.GetGpuHealthResponse:  # noqa: N802
        raise AssertionError("nobody asks for it here")

    async def CordonGpu(self, request: Any, context: Any) -> pb.CordonGpuResponse:  # noqa: N802
        raise AssertionError("nobody asks for it here")

    async def UncordonGpu(self, request: Any, context: Any) -> pb.UncordonGpuResponse:  # noqa: N802
        raise AssertionError("nobody asks for it here")

    async def ListDecisions(self, request: Any, context: Any) -> pb.ListDecisionsResponse:  # noqa: N802
        raise AssertionError("nobody asks for it here")

    async def ExplainOrder(self, request: Any, context: Any) -> pb.ExplainOrderResponse:  # noqa: N802
        raise AssertionError("nobody asks for it here")

    async def GetMetrics(self, request: Any, context: Any) -> pb.GetMetricsResponse:  # noqa: N802
        raise AssertionError("nobody asks for it here")


@asynccontextmanager
async def served(
    path: Path, answer: Answer, guard: Guard | None = None
) -> AsyncIterator[tuple[Any, Servicer]]:
    servicer = Servicer(answer)
    made = server([guard or Guard()], concurrent_calls=2)
    add_OperatorServiceServicer_to_server(servicer, made)
    bind_unix(made, path / "s.sock")
    await made.start()
    try:
        async with asyncio.timeout(10), unix_channel(path / "s.sock") as channel:
            yield OperatorServiceStub(channel), servicer
    finally:
        await made.stop(None)


def raised(path: Path, error: Exception) -> ProviderError:
    async def fail() -> pb.GetStatusResponse:
        raise error

    async def main() -> ProviderError:
        async with served(path, fail) as (stub, _):
            with pytest.raises(ProviderError) as seen:
                await unary(stub.GetStatus(pb.GetStatusRequest(), timeout=5))
            return seen.value

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Temporary("the engine is away", remedy="wait", retry_after=Span(1500)), Temporary),
        (Temporary("too much waits"), Temporary),
        (Permanent("no such image", remedy="check its name"), Denied),
        (ConfigError("manifest: no services", remedy="add one"), ConfigError),
        (PeerError("order.id: is missing"), Denied),
        (Denied(StatusCode.NOT_FOUND, "LEASE_UNKNOWN", "no such lease", remedy="look again"), Denied),
        (Denied(StatusCode.ABORTED, "SUPERSEDED", "a newer session"), Temporary),
    ],
)
def test_an_error_arrives_with_both_its_lines(tmp_path: Path, error: ProviderError, kind: type) -> None:
    seen = raised(tmp_path, error)
    assert (type(seen), seen.what, seen.remedy) == (kind, error.what, error.remedy)
    if isinstance(error, Temporary):
        assert isinstance(seen, Temporary)
        assert seen.retry_after == error.retry_after


def test_reasons_are_for_programs(tmp_path: Path) -> None:
    for error, code, reason in (
        (PeerError("x"), StatusCode.INVALID_ARGUMENT, "MALFORMED"),
        (Permanent("x"), StatusCode.FAILED_PRECONDITION, "REFUSED"),
        (Denied(StatusCode.NOT_FOUND, "LEASE_UNKNOWN", "x"), StatusCode.NOT_FOUND, "LEASE_UNKNOWN"),
    ):
        seen = raised(tmp_path, error)
        assert isinstance(seen, Denied)
        assert (seen.code, seen.reason) == (code, reason)


def test_an_error_in_a_task_group_is_the_same_error(tmp_path: Path) -> None:
    group = ExceptionGroup("g", [ExceptionGroup("h", [Permanent("no such image")])])
    assert raised(tmp_path, group).what == "no such image"


def test_a_bug_over_there_is_a_peer_error_here(tmp_path: Path) -> None:
    assert type(raised(tmp_path, ZeroDivisionError())) is PeerError


def test_a_very_long_message_still_arrives(tmp_path: Path) -> None:
    assert raised(tmp_path, Permanent("x" * 100_000)).what == "x" * 1024


def test_every_code_has_a_meaning() -> None:
    assert set(_KINDS) == set(StatusCode) - {StatusCode.OK}


async def for_ever() -> pb.GetStatusResponse:
    await asyncio.Event().wait()
    raise AssertionError


def test_a_default_deadline_ends_a_call_that_named_none(tmp_path: Path) -> None:
    async def main() -> None:
        guard = Guard(requires_deadline=False, deadline_s=0.05)
        async with served(tmp_path, for_ever, guard) as (stub, servicer):
            with pytest.raises(Temporary, match="took over"):
                await unary(stub.GetStatus(pb.GetStatusRequest()))
            assert servicer.running == 0

    asyncio.run(main())


def test_calls_over_the_servers_limit_may_be_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path, for_ever) as (stub, servicer), asyncio.TaskGroup() as tasks:
            held = [
                tasks.create_task(unary(stub.GetStatus(pb.GetStatusRequest(), timeout=9))) for _ in range(2)
            ]
            await until(lambda: servicer.running == 2)
            with pytest.raises(Temporary, match="Concurrent RPC limit"):
                await unary(stub.GetStatus(pb.GetStatusRequest(), timeout=5))
            for task in held:
                task.cancel()

    asyncio.run(main())


def test_an_abandoned_call_is_over_at_the_server_too(tmp_path: Path) -> None:
    """Since grpcio 1.83 a dropped call runs on until its channel is closed; ours are always cancelled."""

    async def main() -> None:
        async with served(tmp_path, for_ever) as (stub, servicer):
            for _ in range(20):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await unary(stub.GetStatus(pb.GetStatusRequest(), timeout=60))
                await until(lambda: servicer.running == 0)

    asyncio.run(main())


def test_a_closed_channel_is_a_lost_connection_and_not_a_cancelled_task(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path, for_ever) as (_, servicer):
            channel = unix_channel(tmp_path / "s.sock")
            call = OperatorServiceStub(channel).GetStatus(pb.GetStatusRequest(), timeout=60)
            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(_outcome(call))
                await until(lambda: servicer.running == 1)
                await channel.close()
            assert waiting.result() == "Temporary"

    asyncio.run(main())


async def _outcome(call: Any) -> str:
    try:
        async with cancelled_after(call):
            await call
    except ProviderError as error:
        return type(error).__name__
    return "none"


def test_a_path_too_long_for_a_socket_is_named_as_such(tmp_path: Path) -> None:
    far = tmp_path / ("x" * 90) / "s.sock"

    async def listen() -> None:
        bind_unix(server([Guard()], concurrent_calls=1), far)

    with pytest.raises(ConfigError, match="107 bytes") as told:
        asyncio.run(listen())
    assert told.value.remedy == "choose a state folder with a shorter path"
    assert not far.parent.exists()
