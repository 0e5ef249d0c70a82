"""Commands executed in containers, on the machine's engine: what the contract cannot ask of a fake."""

from __future__ import annotations

import asyncio

import pytest

from provider.adapters.runtime import DockerRuntime
from provider.domain.errors import Permanent
from provider.domain.ids import LeaseId
from provider.ports import ExecRequest
from tests.integration.runtime.conftest import Run
from tests.integration.runtime.inside import shell
from tests.launches import collect, eventually, launch, take

pytestmark = pytest.mark.docker


async def count(runtime: DockerRuntime, lease: LeaseId, what: str) -> int:
    """Processes in the container whose arguments name ``what``."""
    return int(await shell(runtime, lease, f"ps -o args | grep -c '^sleep {what}' || true"))


@pytest.mark.parametrize("tty", [False, True])
def test_leaving_before_the_end_kills_the_command_and_its_children(on_docker: Run, *, tty: bool) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch()
        await runtime.start(wanted)
        script = "sleep 4711 & sleep 4711 & echo here; wait"

        request = ExecRequest(service="web", argv=("sh", "-c", script), tty=tty)
        async with await runtime.exec(wanted.lease, request) as session:
            await take(session.output(), 1)
            assert await count(runtime, wanted.lease, "4711") == 2

        assert await eventually(lambda: count(runtime, wanted.lease, "4711"), lambda left: left == 0) == 0
        assert (await runtime.list())[0].containers[0].exit_code is None  # the service itself runs on

    on_docker(check)


def test_a_terminal_has_the_size_it_was_given_and_takes_a_new_one(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch()
        await runtime.start(wanted)
        script = 'until [ "$(stty size 2>/dev/null)" = "33 99" ]; do :; done; echo first; '
        script += 'until [ "$(stty size 2>/dev/null)" = "50 120" ]; do :; done; echo second'

        request = ExecRequest(service="web", argv=("sh", "-c", script), tty=True, rows=33, columns=99)
        async with await runtime.exec(wanted.lease, request) as session:
            output = session.output()
            assert (await take(output, 1))[0].data == b"first\r\n"
            await session.resize(50, 120)
            rest = await collect(output)

        assert b"".join(each.data for each in rest) == b"second\r\n"
        assert rest[-1].exit_code == 0

    on_docker(check)


def test_a_shell_on_a_terminal_answers_what_is_typed(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch()
        await runtime.start(wanted)

        async with await runtime.exec(
            wanted.lease, ExecRequest(service="web", argv=("sh",), tty=True)
        ) as session:
            await session.write(b"echo $((6 * 7))\nexit 9\n")
            output = await collect(session.output())

        assert b"\r\n42\r\n" in b"".join(each.data for each in output)
        assert output[-1].exit_code == 9

    on_docker(check)


def test_much_output_that_nobody_reads_does_not_fill_our_memory(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch()
        await runtime.start(wanted)

        async with await runtime.exec(wanted.lease, ExecRequest(service="web", argv=("yes",))) as session:
            first = (await take(session.output(), 1))[0]
            await asyncio.sleep(0)
            assert len(first.data) <= 64 * 1024

        assert await count(runtime, wanted.lease, "yes") == 0

    on_docker(check)


def test_a_command_that_is_not_there(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch()
        await runtime.start(wanted)

        async with await runtime.exec(wanted.lease, ExecRequest(service="web", argv=("nothing",))) as session:
            output = await collect(session.output())

        assert b"nothing" in b"".join(each.data for each in output)
        assert output[-1].exit_code in {126, 127}

    on_docker(check)


def test_input_after_the_end_is_permanent(on_docker: Run) -> None:
    async def check(runtime: DockerRuntime) -> None:
        wanted = launch()
        await runtime.start(wanted)

        async with await runtime.exec(wanted.lease, ExecRequest(service="web", argv=("true",))) as session:
            await collect(session.output())
            with pytest.raises(Permanent):
                await session.write(b"too late")

    on_docker(check)
