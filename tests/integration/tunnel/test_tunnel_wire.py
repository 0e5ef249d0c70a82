"""The tunnel's messages by hand: halves that close, names that are good once, pieces that are too large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from provider.coordinator.tunnels import TunnelLimits, Tunnels
from provider.domain.ids import LeaseId
from provider.rpc.calls import cancelled_after
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.member import Role
from provider.rpc.settings import TUNNEL_PIECE_BYTES
from provider.rpc.status import Denied
from provider.rpc.v1.tunnel_pb2 import AnswerRequest, DialRequest
from provider.rpc.v1.tunnel_pb2_grpc import TunnelServiceStub
from provider.sim.waiting import until
from tests.coordinators import Agent, Tenant, channel_of, coordinator, couple, join, run


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Bare stubs, and north's session."""

    alice: Any
    north: Any
    south: Any
    session: Agent
    lease: LeaseId
    tunnels: Tunnels
    """The coordinator's own table."""

    @asynccontextmanager
    async def dialled(self) -> AsyncIterator[tuple[Any, str]]:
        """Alice's call, and the name that north hears."""
        async with cancelled_after(self.alice.Dial()) as dial:
            await dial.write(DialRequest(lease=lease_id_to_pb(self.lease)))
            yield dial, (await self.session.next("tunnel_wanted")).tunnel_wanted.tunnel

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Any, Any, str]]:
        """Both calls, spliced."""
        async with self.dialled() as (dial, name), cancelled_after(self.north.Answer()) as answer:
            await answer.write(AnswerRequest(tunnel=name))
            assert (await dial.read()).connected
            yield dial, answer, name


def with_ends(folder: Path, scenario: Callable[[Ends], Awaitable[None]], **changes: Any) -> None:
    async def body() -> None:
        async with coordinator(folder, **changes) as market:
            alice, north = await couple(market)
            south = await join(market, Role.PROVIDER, "south")
            async with (
                Tenant(alice) as tenant,
                Agent(north) as agent,
                channel_of(alice) as one,
                channel_of(north) as two,
                channel_of(south) as three,
            ):
                await agent.hello()
                order = await tenant.deploy()
                await agent.next("order_opened")
                lease = await agent.bid(order)
                await tenant.accept(lease)
                await agent.next("lease_awarded")
                await agent.confirm(lease)
                stubs = [TunnelServiceStub(channel) for channel in (one, two, three)]
                await scenario(
                    Ends(
                        alice=stubs[0],
                        north=stubs[1],
                        south=stubs[2],
                        session=agent,
                        lease=lease,
                        tunnels=market.tunnels,
                    )
                )

    run(body)


async def refused(stub: Any, name: str) -> str:
    """Why ``name`` cannot be answered."""
    return await reason_of(stub.Answer(), AnswerRequest(tunnel=name))


async def reason_of(made: Any, message: Any) -> str:
    try:
        async with cancelled_after(made) as call:
            await call.write(message)
            await call.read()
    except Denied as denied:
        return denied.reason
    raise AssertionError("it was not refused")


def test_a_half_that_is_closed_leaves_the_other_open(tmp_path: Path) -> None:
    async def scenario(ends: Ends) -> None:
        async with ends.opened() as (dial, answer, _):
            await dial.write(DialRequest(data=b"question"))
            await dial.write(DialRequest(closed=True))
            assert (await answer.read()).data == b"question"
            assert (await answer.read()).closed
            for piece in (b"long ", b"answer"):
                await answer.write(AnswerRequest(data=piece))
                assert (await dial.read()).data == piece
            await answer.write(AnswerRequest(closed=True))
            assert (await dial.read()).closed
            assert await dial.read() is grpc.aio.EOF
            assert await answer.read() is grpc.aio.EOF

    with_ends(tmp_path, scenario)


def test_a_name_is_good_once_for_one_provider_and_not_for_long(tmp_path: Path) -> None:
    async def scenario(ends: Ends) -> None:
        async with ends.dialled() as (dial, name):
            assert len(name) == 32
            assert await refused(ends.south, name) == "TUNNEL_UNKNOWN"
            assert await refused(ends.north, "0" * 32) == "TUNNEL_UNKNOWN"
            async with cancelled_after(ends.north.Answer()) as answer:
                await answer.write(AnswerRequest(tunnel=name))
                assert (await dial.read()).connected
                assert await refused(ends.north, name) == "TUNNEL_UNKNOWN"
        async with ends.dialled() as (dial, late):
            assert late != name
            with pytest.raises(grpc.aio.AioRpcError, match=r"did not open a tunnel within 0\.5 s"):
                await dial.read()
        assert await refused(ends.north, late) == "TUNNEL_UNKNOWN"

    with_ends(tmp_path, scenario, tunnels=TunnelLimits(answer_s=0.5))


def test_whoever_stops_without_a_word_ends_the_other(tmp_path: Path) -> None:
    async def scenario(ends: Ends) -> None:
        async with ends.opened() as (dial, answer, _):
            answer.cancel()
            with pytest.raises(grpc.aio.AioRpcError, match="the provider north has gone"):
                await dial.read()
        async with ends.opened() as (dial, answer, _):
            dial.cancel()
            with pytest.raises(grpc.aio.AioRpcError, match="the tenant has hung up"):
                await answer.read()
        async with ends.opened() as (dial, answer, _):
            await dial.done_writing()  # the end of a stream is no word either
            with pytest.raises(grpc.aio.AioRpcError, match="the tenant has hung up"):
                await answer.read()

    with_ends(tmp_path, scenario)


@pytest.mark.parametrize("who", ["tenant", "provider"])
def test_whoever_stops_while_its_bytes_are_stuck_is_noticed_all_the_same(tmp_path: Path, who: str) -> None:
    async def scenario(ends: Ends) -> None:
        async with ends.opened() as (dial, answer, _):
            goes, message = (dial, DialRequest) if who == "tenant" else (answer, AnswerRequest)
            pushed = 0

            async def push() -> None:
                nonlocal pushed
                while True:
                    await goes.write(message(data=b"x" * TUNNEL_PIECE_BYTES))
                    pushed += 1

            pushing = asyncio.create_task(push())
            await until(lambda: ends.tunnels.held_bytes > 0 and pushed > 16)
            last = -1
            while last != pushed:  # until the windows are full
                last = pushed
                await asyncio.sleep(0.2)
            pushing.cancel()
            await asyncio.wait({pushing})
            goes.cancel()
            await until(lambda: len(ends.tunnels) == 0)

    with_ends(tmp_path, scenario)


@pytest.mark.parametrize(
    "message",
    [
        DialRequest(data=b"x" * (TUNNEL_PIECE_BYTES + 1)),
        DialRequest(lease=lease_id_to_pb(LeaseId.parse("alice/1/1/1/north"))),
        DialRequest(),
    ],
)
def test_messages_that_cannot_be_end_the_tunnel(tmp_path: Path, message: DialRequest) -> None:
    async def scenario(ends: Ends) -> None:
        async with ends.opened() as (dial, answer, _):
            await dial.write(message)
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await dial.read()
            assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            with pytest.raises(grpc.aio.AioRpcError):
                await answer.read()

    with_ends(tmp_path, scenario)


def test_only_the_lease_s_tenant_dials_and_only_providers_answer(tmp_path: Path) -> None:
    async def scenario(ends: Ends) -> None:
        message = DialRequest(lease=lease_id_to_pb(ends.lease))
        assert await reason_of(ends.north.Dial(), message) == "WRONG_MEMBER"
        assert await refused(ends.alice, "0" * 32) == "WRONG_MEMBER"

    with_ends(tmp_path, scenario)
