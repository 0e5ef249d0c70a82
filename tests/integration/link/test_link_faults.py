"""A link over a network that fails: nothing is lost, nothing is doubled, silence is noticed in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from provider.adapters.link import GrpcLink
from provider.core.effects import ConfirmLease, EndLease, PlaceBid, ReportUsage
from provider.domain.ids import EffectId
from provider.domain.market import Bid, CloseReason, Usage
from provider.domain.moment import Instant
from provider.rpc.codec import lease_id_to_pb, order_id_to_pb
from provider.rpc.codec_market import order_to_pb
from provider.rpc.v1 import market_pb2 as pb
from provider.sim.waiting import until
from tests.integration.link.market_world import RATE, Wire, lease, order, wire

_WIRE_LEASE = lease_id_to_pb(lease(1))


def run(tmp_path: Path, scenario: Callable[[Wire], Awaitable[None]], heartbeat_ms: int = 1000) -> None:
    async def main() -> None:
        async with wire(tmp_path, heartbeat_ms=heartbeat_ms) as made:
            await scenario(made)

    asyncio.run(main())


async def work(made: Wire, link: GrpcLink, dseq: int) -> None:
    """A lease's traffic in both directions: unary calls and messages on the stream."""
    id_ = lease(dseq)
    made.market.open_order(order(dseq))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(link.place_bid(EffectId(f"{id_}#1"), Bid(id=id_, rate=RATE)))
        tasks.create_task(link.confirm_lease(EffectId(f"{id_}#2"), id_))
        usage = Usage(lease=id_, number=1, running_ms=1, at=Instant(1))
        tasks.create_task(link.report_usage(EffectId(f"{id_}#3"), usage))
        ending = link.end_lease(EffectId(f"{id_}#4"), id_, CloseReason.OPERATOR_CLOSED, "")
        tasks.create_task(ending)


def expected(dseq: int) -> dict[str, object]:
    id_ = lease(dseq)
    usage = Usage(lease=id_, number=1, running_ms=1, at=Instant(1))
    every = (
        PlaceBid(id=EffectId(f"{id_}#1"), bid=Bid(id=id_, rate=RATE)),
        ConfirmLease(id=EffectId(f"{id_}#2"), lease=id_),
        ReportUsage(id=EffectId(f"{id_}#3"), usage=usage),
        EndLease(id=EffectId(f"{id_}#4"), lease=id_, reason=CloseReason.OPERATOR_CLOSED, detail=""),
    )
    return {each.id: each for each in every}


@pytest.mark.parametrize("starts_with", ["a session", "a handshake"])
def test_a_cut_after_any_number_of_bytes_loses_and_doubles_nothing(tmp_path: Path, starts_with: str) -> None:
    """Odd steps through one round of work, and through the handshake, hello and welcome before it."""

    async def scenario(made: Wire) -> None:
        rounds = 0
        async with made.agent() as (link, follower):
            await until(follower.epochs)
            for cut_after in range(1, 6000, 149):
                if starts_with == "a handshake":
                    made.proxy.cut()
                made.proxy.cut_after(cut_after)
                while made.proxy.will_cut:
                    rounds += 1
                    await work(made, link, rounds)
            await until(lambda: follower.version == rounds)
            assert made.proxy.connections > 40
        every = {key: effect for dseq in range(1, rounds + 1) for key, effect in expected(dseq).items()}
        assert made.market.told == every
        assert list(dict.fromkeys(follower.opened())) == list(range(1, rounds + 1))

    run(tmp_path, scenario)


def test_messages_of_one_lease_keep_their_order_over_cuts(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent() as (link, follower):
            await until(follower.epochs)
            async with asyncio.TaskGroup() as tasks:
                for dseq in range(1, 60):
                    key = EffectId(f"{lease(dseq)}#1")
                    tasks.create_task(link.confirm_lease(key, lease(dseq)))
                    if dseq % 7 == 0:
                        await asyncio.sleep(0)
                        made.proxy.cut()
        assert list(made.market.told) == [f"{lease(dseq)}#1" for dseq in range(1, 60)]

    run(tmp_path, scenario)


def test_a_connection_that_breaks_is_no_verdict_on_the_certificate(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent() as (_, follower):
            await until(follower.epochs)
            made.proxy.cut()
            await until(follower.losses)
            assert follower.losses() == [f"coordinator {made.proxy.address}: the connection was lost"]

    run(tmp_path, scenario)


def test_a_network_that_swallows_everything_is_noticed(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent() as (link, follower):
            await until(follower.epochs)
            made.proxy.freeze()
            began = time.monotonic()
            await until(follower.losses)
            assert time.monotonic() - began < 3 * 0.2 + 1
            assert "has been silent for 0.6 s" in follower.losses()[0]
            made.proxy.cut()
            made.proxy.open()
            await until(lambda: len(follower.epochs()) > 1)
            await link.confirm_lease(EffectId("1"), lease(1))
        assert list(made.market.told) == ["1"]

    run(tmp_path, scenario, heartbeat_ms=200)


def test_a_coordinator_that_stands_still_is_noticed(tmp_path: Path) -> None:
    """Its kernel answers, gRPC's pings too: only the heartbeats tell."""

    async def scenario(made: Wire) -> None:
        async with made.agent() as (link, follower):
            await until(follower.epochs)
            made.served.thawed.clear()
            await until(follower.losses)
            made.served.thawed.set()
            await link.confirm_lease(EffectId("1"), lease(1))
            assert follower.epochs()[-1] > 1

    run(tmp_path, scenario, heartbeat_ms=200)


def test_a_coordinator_that_never_welcomes_is_noticed(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        made.proxy.freeze()
        async with made.agent() as (_, follower):
            await until(follower.losses)
            made.proxy.cut()
            made.proxy.open()
            await until(follower.epochs)

    run(tmp_path, scenario)


def test_leaving_does_not_wait_for_a_network_that_swallows_everything(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent() as (_, follower):
            await until(follower.epochs)
            made.proxy.freeze()
            began = time.monotonic()
        assert time.monotonic() - began < 3

    run(tmp_path, scenario, heartbeat_ms=60_000)


def test_a_market_that_says_go_and_then_nothing_is_left(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent() as (_, follower):
            await until(follower.epochs)
            made.served.say(go_away=pb.GoAway(reason="restarting"))
            made.served.ends.clear()
            await until(follower.losses, 5)
            assert follower.losses()[0].endswith("the coordinator said: restarting")

    run(tmp_path, scenario, heartbeat_ms=60_000)


def test_a_coordinator_that_restarts_is_found_again(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent() as (link, follower):
            await until(follower.epochs)
            await made.served.__aexit__()
            await until(follower.losses)
            await made.served.__aenter__()
            await link.confirm_lease(EffectId("1"), lease(1))
            assert follower.epochs() == [1, 2]

    run(tmp_path, scenario)


def test_an_agent_that_is_behind_is_not_taken_for_a_silent_market(tmp_path: Path) -> None:
    """The stream is not read while too much waits; the coordinator has to wait, and nobody is lost."""

    async def scenario(made: Wire) -> None:
        async with made.agent() as (_, follower):
            await until(follower.epochs)
            for dseq in range(1, 3000):
                made.market.open_order(order(dseq))
            await until(lambda: follower.version == 2999, 30)
            assert follower.losses() == []
            assert follower.opened() == list(range(1, 3000))

    run(tmp_path, scenario)


def test_what_was_committed_is_acknowledged_without_a_message_each(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        made.served.tells_together = False
        async with made.agent() as (_, follower):
            await until(follower.epochs)
            for dseq in range(1, 501):
                made.market.open_order(order(dseq))
            await until(lambda: made.served.acks and made.served.acks[-1] >= 501)
            assert len(made.served.acks) < 60

    run(tmp_path, scenario, heartbeat_ms=200)


def test_what_waits_together_comes_in_few_messages_each_acknowledged_as_a_whole(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        for dseq in range(1, 501):
            made.market.open_order(order(dseq))
        async with made.agent() as (_, follower):
            await until(lambda: follower.version == 500)
            await until(lambda: made.served.unacknowledged == 0)
            assert follower.opened() == list(range(1, 501))
            assert made.served.acks[-1] < 20

    run(tmp_path, scenario, heartbeat_ms=5000)


def test_a_market_that_says_go_is_left_for_as_long_as_it_says(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent() as (link, follower):
            await until(follower.epochs)
            made.served.say(go_away=pb.GoAway(reason="restarting", retry_after_ms=300))
            await until(follower.losses)
            began = time.monotonic()
            await link.confirm_lease(EffectId("1"), lease(1))
            assert time.monotonic() - began > 0.25
            assert follower.losses()[0].endswith("the coordinator said: restarting")
            assert made.served.goodbyes == ["the coordinator asked for it"]

    run(tmp_path, scenario)


@pytest.mark.parametrize("is_among_others", [False, True])
def test_an_order_in_words_of_a_newer_market_is_passed_over(tmp_path: Path, is_among_others: bool) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent() as (link, follower):
            await until(follower.epochs)
            wire_order = order_to_pb(order(9))
            wire_order.group.units[0].price.denom = "uxyz"
            strange = pb.OrderOpened(order=wire_order)
            if is_among_others:
                fine = pb.Change(version=1, order_opened=pb.OrderOpened(order=order_to_pb(order(1))))
                changes = [fine, pb.Change(version=2, order_opened=strange)]
                made.served.say(changes=pb.Changes(changes=changes))
            else:
                made.served.say(version=1, order_opened=strange)
                made.market.open_order(order(1))
            await until(follower.opened)
            await until(lambda: made.served.unacknowledged == 0)
            assert link.skipped is not None
            assert link.skipped.startswith("order_opened.order.group.units[0].price.denom: 'uxyz' is none of")
            assert follower.losses() == []

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"version": 1, "lease_awarded": pb.LeaseAwarded()}, "lease_awarded.lease: is missing"),
        ({"version": 1, "lease_ended": pb.LeaseEnded()}, "lease_ended.lease: is missing"),
        ({"version": 1, "lease_updated": pb.LeaseUpdated()}, "lease_updated.lease: is missing"),
        (
            {
                "version": 1,
                "lease_updated": pb.LeaseUpdated(lease=lease_id_to_pb(lease(1)), manifest_hash=b"1"),
            },
            "lease_updated.manifest_hash: ",
        ),
        ({"order_closed": pb.OrderClosed(order=order_id_to_pb(order(1).id))}, "version: is 0"),
        ({"seq": 99}, "message 99 came after message"),
        ({"ack": 99}, "message 99 is acknowledged, but only"),
    ],
)
def test_a_market_that_breaks_the_contract_is_left_and_said_so(
    tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent() as (link, follower):
            await until(follower.epochs)
            made.served.say(**fields)
            await until(follower.losses)
            assert why in follower.losses()[0]
            await link.confirm_lease(EffectId("1"), lease(1))

    run(tmp_path, scenario)


def test_bids_one_after_another_share_a_call_that_is_opened_anew_where_it_gets_no_answer(
    tmp_path: Path,
) -> None:
    async def scenario(made: Wire) -> None:
        async def bid(number: int) -> None:
            await link.place_bid(EffectId(f"{number}"), Bid(id=lease(number), rate=RATE))

        async with made.agent(deadline_s=0.2) as (link, follower):
            await until(follower.epochs)
            for number in range(1, 4):
                await bid(number)
            assert made.served.bid_calls == 1
            made.served.thawed.clear()
            late = asyncio.create_task(bid(4))
            await until(lambda: made.served.bid_calls == 2)
            made.served.thawed.set()
            await late
        assert list(made.market.told) == ["1", "2", "3", "4"]

    run(tmp_path, scenario, heartbeat_ms=5000)


def test_a_stream_of_abandoned_calls_leaves_nothing_at_the_market(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent() as (link, follower):
            await until(follower.epochs)
            made.served.thawed.clear()
            for number in range(20):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.005):
                        await link.place_bid(EffectId(str(number)), Bid(id=lease(number + 1), rate=RATE))
            made.served.thawed.set()
        await until(lambda: made.served.live_calls == 0)

    run(tmp_path, scenario)
