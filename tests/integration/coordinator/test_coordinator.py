"""A market over mutual TLS on loopback: join token to refund, two agents, restarts, who is let in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provider.adapters.link.bids import BidCall
from provider.coordinator.record import RecordEntry, verify
from provider.domain.errors import ConfigError, Permanent
from provider.domain.market import Bid
from provider.domain.moment import Instant
from provider.rpc import codec, codec_market
from provider.rpc.calls import unary
from provider.rpc.member import Role
from provider.rpc.settings import BIDS_MOST
from provider.rpc.status import Denied
from provider.rpc.v1 import market_pb2, resources_pb2, tenant_pb2
from tests.coordinators import PATIENCE_S, Agent, Tenant, coordinator, couple, fund, join, run
from tests.market import HASH, OTHER_HASH, group, rate


def test_a_lease_from_join_token_to_refund(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            alice, north = await couple(market)
            async with Tenant(alice) as tenant, Agent(north) as agent:
                welcome = await agent.hello()
                assert (welcome.epoch, welcome.market) == (1, "test")
                order = await tenant.deploy()
                opened = await agent.next("order_opened")
                assert codec.order_id_from_pb(opened.order_opened.order.id) == order
                lease = await agent.bid(order, "100.5")
                view = await tenant.until(order.dseq, lambda seen: seen.orders[0].bids)
                assert view.orders[0].bids[0].rate.amount == "100.5"
                await tenant.accept(lease)
                award = codec_market.award_from_pb((await agent.next("lease_awarded")).lease_awarded)
                assert award.id == lease
                await agent.confirm(lease)
                view = await tenant.until(order.dseq, lambda seen: seen.leases)
                assert view.leases[0].state == tenant_pb2.LEASE_STATE_ACTIVE
                assert view.leases[0].lease_address == "north:8443"
                await agent.tell(
                    lease_report=market_pb2.LeaseReport(
                        lease=codec.lease_id_to_pb(lease), health=resources_pb2.LEASE_HEALTH_RUNNING
                    )
                )
                await agent.used(lease, 1, 0)
                await tenant.close(order.dseq)
                ended = await agent.next("lease_ended")
                assert ended.lease_ended.reason == resources_pb2.CLOSE_REASON_TENANT_CLOSED
                await agent.used(lease, 2, 0, final=True)
                view = await tenant.until(
                    order.dseq, lambda seen: seen.state == tenant_pb2.DEPLOYMENT_STATE_CLOSED
                )
                assert view.refunded.amount_micros == 1_000_000
                assert await tenant.balance() == (5_000_000, 0)
                await _check_record(tenant)

    run(body)


async def _check_record(tenant: Tenant) -> None:
    listed = await unary(tenant.stub.ListRecord(tenant_pb2.ListRecordRequest(), timeout=PATIENCE_S))
    entries = [
        RecordEntry(number=each.number, at=Instant(each.at_ms), body_json=each.body_json, hash=each.hash)
        for each in listed.entries
    ]
    assert verify(entries) is None
    events = [json.loads(each.body_json)["event"] for each in entries]
    assert events == ["lease_opened", "lease_closed", "lease_settled"]


def test_an_update_reaches_the_provider_live_and_after_an_absence(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            alice, north = await couple(market)
            async with Tenant(alice) as tenant:
                async with Agent(north) as agent:
                    await agent.hello()
                    order = await tenant.deploy()
                    lease = await agent.bid(order)
                    await tenant.accept(lease)
                    await agent.next("order_opened")
                    await agent.next("lease_awarded")
                    await agent.confirm(lease)
                    await tenant.update(order.dseq, OTHER_HASH)
                    told = await agent.next("lease_updated")
                    assert codec_market.update_from_pb(told.lease_updated) == (lease, OTHER_HASH)
                await tenant.update(order.dseq, HASH, again="back")
                view = await tenant.until(order.dseq, lambda seen: seen.manifest_hash.hex() == HASH)
                assert view.leases[0].state == tenant_pb2.LEASE_STATE_ACTIVE
                async with Agent(north) as agent:
                    await agent.hello(since=told.version, market="test")
                    missed = await agent.next("lease_updated")
                    assert codec_market.update_from_pb(missed.lease_updated) == (lease, HASH)
                with pytest.raises(Denied) as caught:
                    await tenant.update(order.dseq, OTHER_HASH, group(price=1))
                assert caught.value.reason == "GROUPS_DIFFER"
                assert caught.value.remedy is not None
                with pytest.raises(Denied) as caught:
                    await tenant.update(order.dseq, OTHER_HASH, again="back")
                assert caught.value.reason == "KEY_REUSED"

    run(body)


def test_two_agents_see_the_same_order_and_one_hears_that_it_lost(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            alice = await join(market, Role.TENANT, "alice")
            north, south = [await join(market, Role.PROVIDER, name) for name in ("north", "south")]
            await fund(market, "alice", 5_000_000)
            async with Tenant(alice) as tenant, Agent(north) as first, Agent(south) as second:
                await first.hello()
                await second.hello()
                order = await tenant.deploy()
                bids = []
                for agent in (first, second):
                    await agent.next("order_opened")
                    bids.append(await agent.bid(order))
                await tenant.accept(bids[1])
                await second.next("lease_awarded")
                await second.confirm(bids[1])
                closed = await first.next("order_closed")
                assert codec.order_id_from_pb(closed.order_closed.order) == order

    run(body)


def test_of_bids_that_come_together_each_is_taken_or_refused_for_itself(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            alice, north = await couple(market)
            async with Tenant(alice) as tenant, Agent(north) as agent:
                await agent.hello()
                open_, closed = await tenant.deploy(), await tenant.deploy()
                await tenant.close(closed.dseq)
                good = codec_market.bid_to_pb(Bid(id=open_.lease(agent.provider), rate=rate(100)))
                late = codec_market.bid_to_pb(Bid(id=closed.lease(agent.provider), rate=rate(100)))
                asked = market_pb2.PlaceBidsRequest(
                    bids=[
                        market_pb2.PlaceBidRequest(key="good", bid=good),
                        market_pb2.PlaceBidRequest(key="late", bid=late),
                        market_pb2.PlaceBidRequest(key="none"),
                    ]
                )
                many = market_pb2.PlaceBidsRequest(bids=[asked.bids[0]] * (BIDS_MOST + 1))
                bids = BidCall(PATIENCE_S)
                for _ in range(2):  # a repeat changes nothing
                    answer = await bids.ask(agent.stub, asked)
                    refused = {each.id: each.reason for each in answer.refused}
                    assert refused == {"late": "ORDER_NOT_OPEN", "none": "MALFORMED"}
                with pytest.raises(Permanent, match="has more than"):
                    await bids.ask(agent.stub, many)
                await bids.ask(agent.stub, asked)  # in a call anew
                bids.close()
                seen = await tenant.until(open_.dseq, lambda view: view.orders[0].bids)
                assert len(seen.orders[0].bids) == 1

    run(body)


def test_an_agent_that_was_away_hears_what_changed_and_nothing_else(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            alice, north = await couple(market)
            async with Tenant(alice) as tenant:
                async with Agent(north) as agent:
                    await agent.hello()
                    first = await tenant.deploy()
                    seen = (await agent.next("order_opened")).version
                    await agent.bid(first)
                await tenant.close(first.dseq)
                missed = await tenant.deploy(group("missed"))
                await tenant.close(missed.dseq)
                latest = await tenant.deploy(group("latest"))
                async with Agent(north) as agent:
                    assert (await agent.hello(since=seen, market="test")).epoch == 2
                    closed = await agent.next("order_closed")
                    opened = await agent.next("order_opened")
                assert codec.order_id_from_pb(closed.order_closed.order) == first
                assert codec.order_id_from_pb(opened.order_opened.order.id) == latest
                assert seen < closed.version < opened.version
                async with Agent(north) as agent:
                    await agent.hello(since=seen, market="test", takes_changes=True)
                    together = (await agent.next("changes")).changes.changes
                    assert [each.version for each in together] == [closed.version, opened.version]
                    assert together[0].order_closed == closed.order_closed
                    assert together[1].order_opened == opened.order_opened

    run(body)


def test_a_newer_session_ends_the_older(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            north = await join(market, Role.PROVIDER, "north")
            async with Agent(north) as older, Agent(north) as newer:
                assert (await older.hello()).epoch == 1
                assert (await newer.hello()).epoch == 2
                assert await older.ended() == ("ABORTED", "a newer session of this provider took over")

    run(body)


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ({"market": "other"}, "this is the market test, and the agent's state is of other"),
        ({"since": 99, "market": "test"}, "the agent remembers change 99 of test"),
    ],
)
def test_an_agent_of_another_market_or_another_past_is_told_so(
    tmp_path: Path, hello: dict[str, object], reason: str
) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            north = await join(market, Role.PROVIDER, "north")
            async with Agent(north) as agent:
                await agent.send(
                    hello=market_pb2.Hello(
                        instance="i",
                        market=str(hello["market"]),
                        last_version=int(str(hello.get("since", 0))),
                    )
                )
                code, details = await agent.ended()
                assert code == "FAILED_PRECONDITION"
                assert details.startswith(reason)

    run(body)


def test_a_message_is_taken_once_and_a_bad_one_is_refused_before_its_ack(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            alice, north = await couple(market)
            async with Tenant(alice) as tenant, Agent(north) as agent:
                await agent.hello()
                order = await tenant.deploy()
                await agent.next("order_opened")
                lease = await agent.bid(order)
                await tenant.accept(lease)
                await agent.next("lease_awarded")
                confirmed = market_pb2.LeaseConfirmed(lease=codec.lease_id_to_pb(lease))
                for _ in range(2):
                    await agent.acked(await agent.send(id="same", lease_confirmed=confirmed))
                other = order.lease(lease.provider)
                stolen = codec.lease_id_to_pb(other)
                stolen.provider = "south"
                seq = await agent.send(id="stolen", lease_confirmed=market_pb2.LeaseConfirmed(lease=stolen))
                refused = await agent.next("message_refused")
                assert (refused.message_refused.id, refused.message_refused.reason) == (
                    "stolen",
                    "LEASE_UNKNOWN",
                )
                assert not any(message.ack >= seq for message in agent.received[: refused.seq])
                await agent.acked(seq)
                await agent.send(id="broken", lease_ending=market_pb2.LeaseEnding())
                assert (await agent.next("message_refused")).message_refused.reason == "MALFORMED"
                await agent.send(seq=99, heartbeat=market_pb2.Heartbeat())
                assert await agent.ended() == (
                    "INVALID_ARGUMENT",
                    "message 99 came after message 5: the stream is out of order",
                )

    run(body)


def test_a_silent_agent_is_given_up_and_an_idle_one_is_not(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path, heartbeat_interval_ms=200) as market:
            north, south = [await join(market, Role.PROVIDER, name) for name in ("north", "south")]
            async with Agent(north) as silent, Agent(south) as idle:
                await silent.hello()
                await idle.hello()
                for _ in range(8):
                    await idle.send(heartbeat=market_pb2.Heartbeat())
                    assert (await idle.read()).HasField("heartbeat")
                assert await silent.ended() == ("UNAVAILABLE", "the agent has been silent for 0.6 s")
                assert not idle.call.done()

    run(body)


def test_after_an_orderly_stop_everything_is_found_again(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            alice, north = await couple(market)
            agent = Agent(north)
            async with Tenant(alice) as tenant:
                await agent.hello()
                order = await tenant.deploy()
                lease = await agent.bid(order)
                await tenant.accept(lease)
                await agent.next("order_opened")
                await agent.next("lease_awarded")
                await agent.confirm(lease)
        assert (await agent.next("go_away")).go_away.retry_after_ms == 1_000
        assert await agent.ended() == ("UNAVAILABLE", "the coordinator is stopping")
        await agent.__aexit__()
        async with (
            coordinator(tmp_path, market=None) as market,
            Tenant(alice, market.address) as tenant,
            Agent(north, market.address) as agent,
        ):
            view = await tenant.until(order.dseq, lambda seen: True)
            assert view.leases[0].state == tenant_pb2.LEASE_STATE_ACTIVE
            assert (await agent.hello()).epoch == 2
            await agent.next("lease_awarded")

    run(body)


def test_a_second_coordinator_on_the_same_state_or_port_is_refused(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path / "one") as market:
            with pytest.raises(ConfigError, match="another coordinator runs on"):
                async with coordinator(tmp_path / "one"):
                    pass
            with pytest.raises(ConfigError, match="the port is taken"):
                async with coordinator(tmp_path / "two", listen=f"127.0.0.1:{market.port}"):
                    pass
        async with coordinator(tmp_path / "two"):
            pass

    run(body)


def test_members_do_only_what_their_role_allows(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            alice, north = await couple(market)
            async with Tenant(north) as tenant:
                with pytest.raises(Denied) as caught:
                    await tenant.balance()
                assert caught.value.reason == "WRONG_MEMBER"
            async with Agent(alice) as agent:
                with pytest.raises(Denied) as caught:
                    await agent.used(codec.lease_id_from_pb(_lease_pb()), 1, 1)
                assert caught.value.reason == "WRONG_MEMBER"

    run(body)


def _lease_pb() -> resources_pb2.LeaseId:
    order = resources_pb2.OrderId(owner="alice", dseq=1, gseq=1, oseq=1)
    return resources_pb2.LeaseId(order=order, provider="north")
