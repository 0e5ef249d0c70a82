"""The tenant's own terminal while a command runs in a container: raw, sized, and given back as it was."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import grpc.aio

from provider.rpc.status import error_from_rpc
from provider.rpc.v1 import lease_pb2

CHUNK = 32 * 1024


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key goes to the other side, Ctrl-C too."""
    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor, termios.TCSANOW)  # what was typed meanwhile is not thrown away
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def size() -> tuple[int, int]:
    """Rows and columns of the terminal; 24 x 80 where there is none."""
    try:
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
    except OSError:
        return 24, 80
    return rows, columns


async def pump(
    call: grpc.aio.StreamStreamCall[lease_pb2.ExecRequest, lease_pb2.ExecResponse],
    *,
    with_tty: bool,
    with_input: bool = True,
) -> int:
    """Standard input to the command, its output to ours, until it ends; its exit status."""
    async with asyncio.TaskGroup() as group:
        sender = group.create_task(_send(call, with_tty=with_tty, with_input=with_input))
        status = await _receive(call)
        sender.cancel()
    return status


async def _receive(call: grpc.aio.StreamStreamCall[lease_pb2.ExecRequest, lease_pb2.ExecResponse]) -> int:
    try:
        return await _print(call)
    except grpc.aio.AioRpcError as error:
        raise error_from_rpc(error) from error


async def _print(call: grpc.aio.StreamStreamCall[lease_pb2.ExecRequest, lease_pb2.ExecResponse]) -> int:
    status = 0
    async for answer in call:
        match answer.WhichOneof("body"):
            case "stdout":
                _write(sys.stdout.fileno(), answer.stdout)
            case "stderr":
                _write(sys.stderr.fileno(), answer.stderr)
            case "exit_code":
                status = answer.exit_code
            case None:
                pass  # a newer provider says something that this version does not know
    return status


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


async def _send(
    call: grpc.aio.StreamStreamCall[lease_pb2.ExecRequest, lease_pb2.ExecResponse],
    *,
    with_tty: bool,
    with_input: bool,
) -> None:
    """One writer for input and resizes: gRPC allows one write at a time.

    A command may end before it was told all of it; whoever reads the answers learns how.
    """
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        async for request in _requests(with_tty=with_tty, with_input=with_input):
            await call.write(request)
        await call.done_writing()


class _Keyboard:
    """Standard input and the window's size as requests, in order; at most 64 wait."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[lease_pb2.ExecRequest | None] = asyncio.Queue(64)
        self._loop = asyncio.get_running_loop()
        self._descriptor = sys.stdin.fileno()

    def watch(self) -> bool:
        """False where standard input cannot be waited for: a regular file, or /dev/null."""
        try:
            self._loop.add_reader(self._descriptor, self._readable)
        except PermissionError:
            return False
        return True

    def unwatch(self) -> None:
        self._loop.remove_reader(self._descriptor)

    def _readable(self) -> None:
        if self.requests.full():
            return  # what is not read stays in the terminal until there is room
        data = os.read(self._descriptor, CHUNK)
        if data:
            self.requests.put_nowait(lease_pb2.ExecRequest(input=data))
        else:
            self.unwatch()
            self.requests.put_nowait(None)

    def resized(self) -> None:
        """Tell the window's size, unless so much waits that it would come too late anyway."""
        rows, columns = size()
        if not self.requests.full():
            self.requests.put_nowait(
                lease_pb2.ExecRequest(resize=lease_pb2.TerminalSize(rows=rows, columns=columns))
            )


async def _requests(*, with_tty: bool, with_input: bool) -> AsyncIterator[lease_pb2.ExecRequest]:
    keyboard, loop = _Keyboard(), asyncio.get_running_loop()
    if with_tty:
        loop.add_signal_handler(signal.SIGWINCH, keyboard.resized)
    try:
        # A terminal without input still hears of new sizes.
        if keyboard.watch() if with_input else with_tty:
            while (request := await keyboard.requests.get()) is not None:
                yield request
        yield lease_pb2.ExecRequest(input_closed=True)
    finally:
        keyboard.unwatch()
        if with_tty:
            loop.remove_signal_handler(signal.SIGWINCH)
