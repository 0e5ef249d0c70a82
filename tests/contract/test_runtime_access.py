"""What every Runtime promises a tenant who looks into a lease: logs and commands."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from provider.domain.errors import Permanent
from provider.domain.workload import ExecOutput
from provider.ports import CopyRequest, ExecRequest, LogRequest
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


def test_a_log_that_is_read_from_its_last_line_on_has_no_doubles_and_no_gaps(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        script = "".join(f"echo {number}; " for number in range(30)) + "exit 0"
        wanted = launch(replica(service("web", script)), replica(service("db", "echo other; exit 0")))
        await world.runtime.start(wanted)
        web = LogRequest(service="web", replica=0)
        all_of_it = await collect_lines(world.runtime.logs(wanted.lease, replace(web, follow=True)))

        for at in (0, 7, 28, 29):
            rest = replace(web, since_ns=all_of_it[at].at_ns)
            assert await collect_lines(world.runtime.logs(wanted.lease, rest)) == all_of_it[at + 1 :]
        assert [line.text for line in all_of_it] == [str(number) for number in range(30)]
        with pytest.raises(Permanent):
            await collect_lines(world.runtime.logs(wanted.lease, LogRequest(service="web", replica=1)))

    run(enter_runtime, check)


def test_the_log_of_a_container_outlives_its_replacement_and_its_lease(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        first = launch(replica(service("web", "echo one; echo two; sleep 3600")))
        await world.runtime.start(first)
        seen = await take_lines(world.runtime.logs(first.lease, LogRequest(follow=True)), 2)
        changed = replace(replica(service("web", "echo three; sleep 3600")), generation=2)
        await world.runtime.start(launch(changed, lease=first.lease))

        seen = await take_lines(world.runtime.logs(first.lease, LogRequest(follow=True)), 3)
        assert [line.text for line in seen] == ["one", "two", "three"]
        newest = await collect_lines(world.runtime.logs(first.lease, LogRequest(tail=2)))
        assert [line.text for line in newest] == ["three"]

        await world.runtime.stop(first.lease, 1)
        assert await collect_lines(world.runtime.logs(first.lease, LogRequest(follow=True))) == seen
        assert await collect_lines(world.runtime.logs(first.lease, LogRequest(tail=2))) == seen[1:]
        later = LogRequest(service="web", since_ns=seen[0].at_ns)
        assert await collect_lines(world.runtime.logs(first.lease, later)) == seen[1:]
        with pytest.raises(Permanent):
            await collect_lines(world.runtime.logs(first.lease, LogRequest(service="db")))

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


async def in_pieces(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def archive(**files: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name.replace("__", "/"))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return made.getvalue()


def names_and_bytes(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        held = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name: file.read() for name, file in held.items() if file is not None}


def test_what_is_copied_in_comes_out_again(enter_runtime: Enter) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)
        big = os.urandom(3_000_000)
        place = CopyRequest(service="web", path="/tmp")
        sent = archive(one=b"first\n", folder__two=big)

        assert await world.runtime.copy_in(wanted.lease, place, in_pieces(sent)) == len(sent)

        got = await collect(world.runtime.copy_out(wanted.lease, replace(place, path="/tmp/folder/two")))
        assert names_and_bytes(b"".join(got)) == {"two": big}
        got = await collect(world.runtime.copy_out(wanted.lease, place))
        assert names_and_bytes(b"".join(got)) == {"tmp/one": b"first\n", "tmp/folder/two": big}

    run(enter_runtime, check)


@pytest.mark.parametrize(
    ("place", "data"),
    [
        (CopyRequest(service="web", path="/nowhere"), archive(one=b"1")),
        (CopyRequest(service="web", path="/tmp/one"), archive(one=b"1")),
        (CopyRequest(service="web", path="/tmp"), b"no archive at all" * 100),
        (CopyRequest(service="web", path="/tmp"), gzip.compress(archive(one=b"1" * 100_000))),
        (CopyRequest(service="web", path="/tmp"), archive(one=b"1" * 20_000)[:10_000]),
        (CopyRequest(service="web", replica=1, path="/tmp"), archive(one=b"1")),
        (CopyRequest(service="db", path="/tmp"), archive(one=b"1")),
    ],
)
def test_a_copy_that_cannot_be_is_permanent(enter_runtime: Enter, place: CopyRequest, data: bytes) -> None:
    async def check(world: World) -> None:
        wanted = launch()
        await world.runtime.start(wanted)
        there = CopyRequest(service="web", path="/tmp")
        await world.runtime.copy_in(wanted.lease, there, in_pieces(archive(one=b"is a file")))

        with pytest.raises(Permanent):
            await world.runtime.copy_in(wanted.lease, place, in_pieces(data))
        with pytest.raises(Permanent):
            await collect(world.runtime.copy_out(wanted.lease, replace(there, path="/tmp/none")))

    run(enter_runtime, check)
