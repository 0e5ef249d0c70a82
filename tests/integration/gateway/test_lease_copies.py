"""Copies over real mutual TLS: bytes as they were, bounds, and what becomes of them when someone goes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from provider.ports import CopyRequest
from provider.rpc.calls import cancelled_after
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.status import Denied
from provider.rpc.v1 import lease_pb2 as pb
from provider.sim.waiting import until
from tests.integration.gateway.world import LEASE, World, bearer, run, status

PLACE: dict[str, Any] = {"service": "web", "replica": 1, "path": "/data"}
REQUEST = CopyRequest(service="web", replica=1, path="/data")


def start(**changes: Any) -> pb.CopyInRequest:
    return pb.CopyInRequest(start=pb.CopyInStart(lease=lease_id_to_pb(LEASE), **(PLACE | changes)))


async def sent(stub: Any, world: World, *messages: pb.CopyInRequest) -> int:
    async with cancelled_after(stub.CopyIn(metadata=bearer(world.token()))) as call:
        try:
            for message in messages:
                await call.write(message)
            await call.done_writing()
        except asyncio.InvalidStateError:
            pass  # it was refused by then: the answer says why
        return int((await call).bytes)


def out(**changes: Any) -> pb.CopyOutRequest:
    return pb.CopyOutRequest(lease=lease_id_to_pb(LEASE), **(PLACE | changes))


def test_what_is_copied_in_and_out_is_the_same() -> None:
    async def scenario(world: World) -> None:
        data = bytes(range(256)) * 1000
        pieces = [data[at : at + 65_536] for at in range(0, len(data), 65_536)]
        async with world.stub() as stub:
            count = await sent(stub, world, start(), *(pb.CopyInRequest(data=piece) for piece in pieces))
            async with cancelled_after(stub.CopyOut(out(), metadata=bearer(world.token()))) as call:
                got = [answer.data async for answer in call]
        assert (count, world.engine.copied) == (len(data), {REQUEST: data})
        assert b"".join(got) == data
        assert max(map(len, got)) <= 65_536

    run(scenario)


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([pb.CopyInRequest(data=b"x")], "start"),
        ([start(path="data")], "start.path: is not an absolute path"),
        ([start(path="")], "start.path: is empty"),
        ([start(replica=-1)], "start.replica"),
        ([start(), start()], "start: is not expected here"),
        ([start(), pb.CopyInRequest(data=b"x" * 70_000)], "data: has more than 65536 bytes"),
        ([start(path="/nowhere")], "no such file or folder"),
    ],
)
def test_a_copy_that_cannot_be_is_refused(messages: list[pb.CopyInRequest], why: str) -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            with pytest.raises(Denied, match=why):
                await sent(stub, world, *messages)
        assert world.engine.copied == {}

    run(scenario)


def test_a_reader_that_stands_still_stops_the_engine_and_not_the_provider() -> None:
    async def scenario(world: World) -> None:
        async with world.stub() as stub:
            call = stub.CopyOut(out(path="/endless"), metadata=bearer(world.token()))
            async with cancelled_after(call):
                await call.read()
                before = -1
                while before != (before := world.engine.pieces_made):
                    await status(stub, world.token())
                    await asyncio.sleep(0.05)
                assert before * 100_000 < 16 * 1024 * 1024
            await until(lambda: world.engine.copies_left == 1)

    run(scenario)
