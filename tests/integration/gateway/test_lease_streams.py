"""Logs and commands over real mutual TLS: order, bounds, and what becomes of them when someone goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc.aio
import pytest

from provider.adapters.gateway import GatewaySettings
from provider.domain.errors import Temporary
from provider.domain.journal import EventKind, Happening
from provider.ports import ExecRequest, LogRequest
from provider.rpc.calls import cancelled_after
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.status import Denied
from provider.rpc.v1 import lease_pb2 as pb
from provider.sim.waiting import until
from tests.integration.gateway.world import LEASE, World, bearer, run, status, world


def logs_request(*, follow: bool, tail: int = -1, **more: Any) -> pb.StreamLogsRequest:
    return pb.StreamLogsRequest(lease=lease_id_to_pb(LEASE), follow=follow, tail=tail, **more)


async def lines_of(stub: Any, world: World, request: pb.StreamLogsRequest) -> list[bytes]:
    """All of a log that ends."""
    async with cancelled_after(stub.StreamLogs(request, metadata=bearer(world.token()))) as call:
        return [line async for batch in _messages(call) for line in batch.text.split(b"\n")]


def test_a_log_is_streamed_in_order_and_ends() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            request = logs_request(follow=False, tail=2, service="web", replica=0)
            call = stub.StreamLogs(request, metadata=bearer(world.token()))
            async with cancelled_after(call):
                batches = [batch async for batch in call]
        assert [(batch.text, batch.is_stderr, list(batch.at_ns)) for batch in batches] == [
            (b"one", False, [1]),
            (b"two", True, [2]),
            (b"three", False, [3]),
        ]
        assert world.engine.requests == [LogRequest(service="web", replica=0, follow=False, tail=2)]
        assert world.engine.logs_open == 0

    run(scenario)


def test_a_follower_that_leaves_closes_the_log() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            async with cancelled_after(
                stub.StreamLogs(logs_request(follow=True), metadata=bearer(world.token()))
            ) as call:
                assert (await call.read()).text == b"one"
                assert world.engine.logs_open == 1
            await until(lambda: world.engine.logs_open == 0)

    run(scenario)


def test_a_reader_that_stands_still_stops_the_reading_and_loses_nothing() -> None:
    async def scenario(world: World) -> None:
        world.engine.floods = True
        async with world.stub() as stub:
            call = stub.StreamLogs(logs_request(follow=True), metadata=bearer(world.token()))
            async with cancelled_after(call):
                await call.read()
                before = -1
                while before != (before := world.engine.lines_made):
                    await status(stub, world.token())
                    await asyncio.sleep(0.05)
                assert before * 1000 < 16 * 1024 * 1024
                times: list[int] = []
                while len(times) <= before:
                    times += (await call.read()).at_ns
                assert times == list(range(times[0], times[0] + len(times)))
            await until(lambda: world.engine.logs_open == 0)

    run(scenario)


def test_a_followed_log_goes_on_when_its_container_is_started_again_until_the_lease_ends() -> None:
    async def scenario(world: World) -> None:
        world.engine.has_ended = True  # it ends with each reading, as that of a container that exits
        async with world.stub() as stub:
            call = stub.StreamLogs(logs_request(follow=True, tail=0), metadata=bearer(world.token()))
            async with cancelled_after(call):
                got = [line for _ in range(3) for line in (await call.read()).text.split(b"\n")]
                world.engine.texts.append("four")
                got += (await call.read()).text.split(b"\n")
                world.engine.texts.append("the last")
                world.agent.state = replace(world.agent.state, leases={})
                async for batch in _messages(call):
                    got += batch.text.split(b"\n")
        assert got == [b"one", b"two", b"three", b"four", b"the last"]
        assert {request.since_ns for request in world.engine.requests} == {0, 3, 4}

    run(scenario)


def test_a_log_and_the_events_of_a_lease_that_has_ended_are_still_there_for_its_tenant() -> None:
    async def scenario(world: World) -> None:
        world.agent.state = replace(world.agent.state, leases={})
        request = pb.StreamEventsRequest(lease=lease_id_to_pb(LEASE))
        async with world.stub() as stub:
            for call in (stub.StreamEvents, stub.StreamLogs):
                with pytest.raises(Denied, match="it has ended, or never began"):
                    async with cancelled_after(call(request, metadata=bearer(world.token()))) as stream:
                        await stream.read()
            happened(world, EventKind.CLOSED)
            assert await lines_of(stub, world, logs_request(follow=False)) == [b"one", b"two", b"three"]
            world.engine.has_ended = True
            assert await lines_of(stub, world, logs_request(follow=True)) == [b"one", b"two", b"three"]
            async with cancelled_after(stub.StreamEvents(request, metadata=bearer(world.token()))) as stream:
                assert [event.kind async for event in _messages(stream)] == ["closed"]

    run(scenario)


def happened(world: World, kind: EventKind, **more: Any) -> None:
    world.journal.append(LEASE, Happening(at=world.now(), kind=kind, **more))


def test_events_come_once_in_order_and_end_with_the_lease() -> None:
    async def scenario(world: World) -> None:
        happened(world, EventKind.AWARDED)
        happened(world, EventKind.EXITED, service="web", replica=1, text="exit status 3")
        request = pb.StreamEventsRequest(lease=lease_id_to_pb(LEASE), follow=True, after_number=1)
        async with world.stub() as stub:
            call = stub.StreamEvents(request, metadata=bearer(world.token()))
            async with cancelled_after(call):
                first = await call.read()
                assert (first.number, first.kind, first.service, first.replica, first.text) == (
                    2,
                    "exited",
                    "web",
                    1,
                    "exit status 3",
                )
                assert first.is_warning
                happened(world, EventKind.CLOSED)
                assert [(event.number, event.is_warning) async for event in _messages(call)] == [(3, False)]

    run(scenario)


def exec_start(**changes: Any) -> pb.ExecRequest:
    fields: dict[str, Any] = {"lease": lease_id_to_pb(LEASE), "service": "web", "argv": ["cat"]}
    return pb.ExecRequest(start=pb.ExecStart(**{**fields, **changes}))


async def exec_of(stub: Any, token: str, *messages: pb.ExecRequest) -> list[Any]:
    """Everything that comes back."""
    async with cancelled_after(stub.Exec(metadata=bearer(token))) as call:
        for message in messages:
            await call.write(message)
        return [answer async for answer in _messages(call)]


def test_a_command_gets_its_input_and_gives_its_output_and_status() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            call = stub.Exec(metadata=bearer(world.token()))
            async with cancelled_after(call):
                await call.write(exec_start(tty=True, size=pb.TerminalSize(rows=40, columns=120)))
                await call.write(pb.ExecRequest(input=b"hello"))
                assert (await call.read()).stdout == b"hello"
                await call.write(pb.ExecRequest(resize=pb.TerminalSize(rows=50, columns=100)))
                await call.write(pb.ExecRequest(input_closed=True))
                assert (await call.read()).stderr == b"bye"
                assert (await call.read()).exit_code == 3
                assert await call.read() is grpc.aio.EOF
        request = ExecRequest(service="web", argv=("cat",), tty=True, rows=40, columns=120)
        assert (world.engine.execs[0].request, world.engine.execs[0].sizes) == (request, [(50, 100)])
        assert world.engine.execs[0].is_left

    run(scenario)


def test_closing_the_tenants_half_is_the_end_of_input() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            call = stub.Exec(metadata=bearer(world.token()))
            async with cancelled_after(call):
                await call.write(exec_start())
                await call.done_writing()
                assert [message.WhichOneof("body") async for message in _messages(call)] == [
                    "stderr",
                    "exit_code",
                ]

    run(scenario)


async def _messages(call: Any) -> AsyncIterator[Any]:
    while (message := await call.read()) is not grpc.aio.EOF:
        yield message


def test_a_tenant_that_goes_takes_its_command_along() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            async with cancelled_after(stub.Exec(metadata=bearer(world.token()))) as call:
                await call.write(exec_start())
                await call.write(pb.ExecRequest(input=b"x"))
                await call.read()
                assert not world.engine.execs[0].is_left
            await until(lambda: world.engine.execs[0].is_left)

    run(scenario)


def test_a_reader_that_stands_still_stops_the_command_and_not_the_provider() -> None:
    async def scenario(world: World) -> None:
        world.engine.floods = True
        async with world.stub() as stub:
            async with cancelled_after(stub.Exec(metadata=bearer(world.token()))) as call:
                await call.write(exec_start())
                await call.read()
                before = -1
                while before != (before := world.engine.execs[0].produced):
                    await status(stub, world.token())
                    await asyncio.sleep(0.05)
                assert before * 32_768 < 16 * 1024 * 1024
            await until(lambda: world.engine.execs[0].is_left)

    run(scenario)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (pb.ExecRequest(input=b"x"), "MALFORMED"),
        (exec_start(argv=[]), "MALFORMED"),
        (exec_start(replica=-1), "MALFORMED"),
        (exec_start(service="db"), "REFUSED"),
    ],
)
def test_a_command_that_cannot_be_is_refused(message: pb.ExecRequest, reason: str) -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            with pytest.raises(Denied) as denied:
                await exec_of(stub, world.token(), message)
        assert denied.value.reason == reason

    run(scenario)


def test_input_that_cannot_be_ends_the_command() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            with pytest.raises(Denied, match="input: has more than"):
                await exec_of(stub, world.token(), exec_start(), pb.ExecRequest(input=b"x" * 70_000))
        assert world.engine.execs[0].is_left

    run(scenario)


def test_streams_of_one_lease_are_limited() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            first = stub.StreamLogs(logs_request(follow=True), metadata=bearer(world.token()))
            async with cancelled_after(first):
                await first.read()
                second = stub.StreamLogs(logs_request(follow=True), metadata=bearer(world.token()))
                with pytest.raises(Temporary, match="1 streams of this lease are open already"):
                    async with cancelled_after(second):
                        await second.read()
            await until(lambda: world.engine.logs_open == 0)
            third = stub.StreamLogs(logs_request(follow=True), metadata=bearer(world.token()))
            async with cancelled_after(third):
                assert (await third.read()).text == b"one"

    run(scenario, GatewaySettings(streams_per_lease=1))


def test_a_stopping_server_ends_streams_and_says_so() -> None:
    async def main() -> None:
        async with world() as made:
            async with made.stub() as stub:
                logs = stub.StreamLogs(logs_request(follow=True), metadata=bearer(made.token()))
                shell = stub.Exec(metadata=bearer(made.token()))
                async with cancelled_after(logs), cancelled_after(shell):
                    for _ in range(3):
                        await logs.read()
                    await shell.write(exec_start())
                    await until(lambda: made.engine.execs)
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(made.server.__aexit__())
                        for call in (logs, shell):
                            with pytest.raises(grpc.aio.AioRpcError, match="the provider is stopping"):
                                await call.read()
            assert made.engine.execs[0].is_left

    asyncio.run(main())
