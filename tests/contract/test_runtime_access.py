"""What every Runtime promises a tenant who looks into a lease: logs and commands."""

from __future__ import annotations

import pytest

from provider.domain.errors import Permanent
from provider.domain.workload import ExecOutput
from provider.ports import ExecRequest, LogRequest
from tests.contract.runtime_worlds import Enter, World, run
from tests.launches import collect, collect_lines, launch, lease_id, replica, service, take_lines


def test_logs_are_lines_in_order_with_their_stream(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        script = "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo three; sleep 3600"
        wanted = launch(replica(service("web", script)))
        await world.runtime.start(wanted)

        followed = await take_lines(world.runtime.logs(wanted.lease, LogRequest(follow=True)), 3)

        assert [(line.text, line.is_stderr) for line in followed] == [
            ("one", False),
            ("two", True),
            ("three", False),
        ]
        assert [line.at for line in followed] == sorted(line.at for line in followed)
        assert await collect_lines(world.runtime.logs(wanted.lease, LogRequest())) == followed
        assert await collect_lines(world.runtime.logs(wanted.lease, LogRequest(tail=1))) == followed[-1:]
        assert (
            await collect_lines(world.runtime.logs(wanted.lease, LogRequest(since_ns=followed[0].at_ns)))
            == followed[1:]
        )

    run(enter_runtime, check)


def test_following_ends_when_the_containers_have(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch(
            replica(service("db", "echo db; sleep 0.3; exit 0")),
            replica(service("web", "echo web; sleep 0.5; exit 1")),
        )
        await world.runtime.start(wanted)

        lines = await collect_lines(world.runtime.logs(wanted.lease, LogRequest(follow=True)))
        of_web = await collect_lines(world.runtime.logs(wanted.lease, LogRequest(service="web")))

        assert sorted((line.service, line.text) for line in lines) == [("db", "db"), ("web", "web")]
        assert [(line.service, line.replica, line.text) for line in of_web] == [("web", 0, "web")]

    run(enter_runtime, check)


def test_logs_of_what_is_not_there(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)

        with pytest.raises(Permanent):
            await collect_lines(world.runtime.logs(wanted.lease, LogRequest(service="none")))
        with pytest.raises(Permanent):
            await collect_lines(world.runtime.logs(lease_id(), LogRequest()))

    run(enter_runtime, check)


@pytest.mark.parametrize(
    ("argv", "data", "errors", "code"),
    [
        (("echo", "hello"), b"hello\n", b"", 0),
        (("sh", "-c", "echo out; echo err >&2; exit 3"), b"out\n", b"err\n", 3),
        (("false",), b"", b"", 1),
    ],
)
def test_exec_gives_output_and_status(
    enter_runtime: Enter, argv: tuple[str, ...], data: bytes, errors: bytes, code: int
) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)

        async with await world.runtime.exec(wanted.lease, ExecRequest(service="web", argv=argv)) as session:
            output = await collect(session.output())

        assert b"".join(each.data for each in output if not each.is_stderr) == data
        assert b"".join(each.data for each in output if each.is_stderr) == errors
        assert output[-1] == ExecOutput(exit_code=code)

    run(enter_runtime, check)


def test_exec_reads_its_input_to_the_end(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)

        async with await world.runtime.exec(
            wanted.lease, ExecRequest(service="web", argv=("cat",))
        ) as session:
            await session.write(b"first\n")
            await session.write(b"second\n")
            await session.close_input()
            output = await collect(session.output())

        assert b"".join(each.data for each in output) == b"first\nsecond\n"
        assert output[-1].exit_code == 0

    run(enter_runtime, check)


def test_exec_with_a_terminal(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)

        request = ExecRequest(service="web", argv=("echo", "hello"), tty=True)
        async with await world.runtime.exec(wanted.lease, request) as session:
            await session.resize(30, 100)
            output = await collect(session.output())

        assert b"".join(each.data for each in output) == b"hello\r\n"
        assert output[-1].exit_code == 0

    run(enter_runtime, check)


def test_exec_where_nothing_runs(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)

        with pytest.raises(Permanent):
            await world.runtime.exec(wanted.lease, ExecRequest(service="db", argv=("true",)))
        with pytest.raises(Permanent):
            await world.runtime.exec(wanted.lease, ExecRequest(service="web", replica=1, argv=("true",)))
        with pytest.raises(Permanent):
            await world.runtime.exec(lease_id(), ExecRequest(service="web", argv=("true",)))

    run(enter_runtime, check)
