"""What time does by itself, on a real clock with short limits; and who is let in at the door."""

from __future__ import annotations

from pathlib import Path

import pytest

from provider.coordinator.market import Rules
from provider.domain.errors import ConfigError, Temporary
from provider.domain.ids import LeaseId
from provider.domain.moment import Instant, Span
from provider.rpc import codec, tokens
from provider.rpc.calls import unary
from provider.rpc.enrolment import enrol, renew
from provider.rpc.identity import new_key, signing_request
from provider.rpc.member import Member, Role
from provider.rpc.settings import tls_channel, unix_channel
from provider.rpc.status import Denied
from provider.rpc.v1 import admin_pb2, enrolment_pb2, resources_pb2, tenant_pb2
from provider.rpc.v1.admin_pb2_grpc import AdminServiceStub
from provider.rpc.v1.enrolment_pb2_grpc import EnrolmentServiceStub
from provider.rpc.v1.tenant_pb2_grpc import TenantServiceStub
from provider.sim.authority import ThrowawayAuthority
from tests.coordinators import (
    PATIENCE_S,
    Agent,
    Tenant,
    channel_of,
    coordinator,
    couple,
    fund,
    invite,
    join,
    run,
)
from tests.market import START

HASTY = Rules(confirm_within=Span(150), usage_within=Span(150))


def test_an_award_that_nobody_confirms_goes_to_the_next_bid_by_itself(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path, rules=HASTY) as market:
            alice, north = await couple(market)
            south = await join(market, Role.PROVIDER, "south")
            async with Tenant(alice) as tenant, Agent(north) as first, Agent(south) as second:
                await first.hello()
                await second.hello()
                order = await tenant.deploy()
                cheap, dear = await first.bid(order, 1), await second.bid(order, 2)
                await tenant.accept(cheap)
                await first.next("order_opened")
                await first.next("lease_awarded")
                ended = (await first.next("lease_ended")).lease_ended
                assert ended.reason == resources_pb2.CLOSE_REASON_NOT_CONFIRMED
                await second.next("order_opened")
                awarded = (await second.next("lease_awarded")).lease_awarded
                assert codec.lease_id_from_pb(awarded.lease) == dear
                opened = await second.next("lease_ended"), await second.next("order_opened")
                assert opened[1].version > opened[0].version, "and then the order is open again"

    run(body)


def test_a_lease_whose_last_usage_never_comes_is_settled_on_what_was_reported(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path, rules=HASTY) as market:
            alice, north = await couple(market)
            async with Tenant(alice) as tenant, Agent(north) as agent:
                await agent.hello()
                lease = await _leased(tenant, agent)
                await tenant.close(lease.dseq)
                view = await tenant.until(
                    lease.dseq, lambda seen: seen.state == tenant_pb2.DEPLOYMENT_STATE_CLOSED
                )
                assert view.leases[0].state == tenant_pb2.LEASE_STATE_CLOSED
                assert view.refunded.amount_micros == 1_000_000

    run(body)


async def _leased(tenant: Tenant, agent: Agent) -> LeaseId:
    order = await tenant.deploy()
    lease = await agent.bid(order)
    await tenant.accept(lease)
    await agent.confirm(lease)
    return lease


def test_a_lease_token_is_the_owners_and_verifies_offline(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            alice, north = await couple(market)
            bob = await join(market, Role.TENANT, "bob")
            async with Tenant(alice) as tenant, Agent(north) as agent, Tenant(bob) as stranger:
                welcome = await agent.hello()
                lease = await _leased(tenant, agent)
                request = tenant_pb2.IssueLeaseTokenRequest(
                    lease=codec.lease_id_to_pb(lease), scopes=["logs", "manifest"]
                )
                issued = await unary(tenant.stub.IssueLeaseToken(request, timeout=PATIENCE_S))
                token = tokens.verify(
                    issued.token,
                    welcome.token_keys_pem,
                    market="test",
                    provider=lease.provider,
                    at=Instant(issued.expires_ms - 1_000),
                )
                assert (token.lease, token.scopes) == (lease, (tokens.Scope.LOGS, tokens.Scope.MANIFEST))
                with pytest.raises(Denied) as caught:
                    await unary(stranger.stub.IssueLeaseToken(request, timeout=PATIENCE_S))
                assert caught.value.reason == "LEASE_UNKNOWN"
                with pytest.raises(Denied) as caught:
                    await stranger.until(lease.dseq, lambda _: True)
                assert caught.value.reason == "DEPLOYMENT_UNKNOWN"

    run(body)


def test_a_join_token_is_good_once_and_expires(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            token = await invite(market, Role.PROVIDER, "north")
            assert (await enrol(token)).member.name == "north"
            with pytest.raises(ConfigError, match="this join token was used already"):
                await enrol(token)
            with pytest.raises(ConfigError, match="this join token has expired"):
                await enrol(await invite(market, Role.PROVIDER, "late", ttl_ms=1))

    run(body)


def test_a_lost_answer_to_an_enrolment_can_be_asked_for_again(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            token = await invite(market, Role.TENANT, "alice")
            csr = signing_request(new_key())
            request = enrolment_pb2.EnrolRequest(key="k", token=token.secret.reveal(), csr_pem=csr)
            expect = Member(role=Role.COORDINATOR, market="test")
            async with tls_channel(market.enrolment_address, market.authority_pem, expect=expect) as channel:
                stub = EnrolmentServiceStub(channel)
                names = [(await unary(stub.Enrol(request, timeout=PATIENCE_S))).name for _ in range(2)]
                assert names == ["alice", "alice"]
                renewal = enrolment_pb2.RenewRequest(key="k", csr_pem=csr)
                with pytest.raises(Denied) as caught:
                    await unary(stub.Renew(renewal, timeout=PATIENCE_S))
                assert caught.value.reason == "CERTIFICATE_MISSING"

    run(body)


def test_a_member_renews_its_certificate(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            alice = await join(market, Role.TENANT, "alice")
            async with channel_of(alice) as channel:
                fresh = await renew(channel, alice)
            assert fresh.member == alice.member
            assert fresh.certificate.serial != alice.certificate.serial
            async with Tenant(fresh) as tenant:
                assert await tenant.balance() == (0, 0)

    run(body)


def test_nobody_gets_in_without_a_certificate_of_this_market(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            expect = Member(role=Role.COORDINATOR, market="test")
            balance = tenant_pb2.GetBalanceRequest()
            async with tls_channel(market.address, market.authority_pem, expect=expect) as channel:
                with pytest.raises(Temporary):
                    await unary(TenantServiceStub(channel).GetBalance(balance, timeout=2))
            stranger = ThrowawayAuthority("test", market.address).member(Role.TENANT, "alice", at=START)
            async with channel_of(stranger) as channel:
                with pytest.raises(Temporary):
                    await unary(TenantServiceStub(channel).GetBalance(balance, timeout=2))

    run(body)


def test_the_owner_sees_the_market_and_names_are_checked(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            alice, north = await couple(market)
            assert market.settings.socket.stat().st_mode & 0o777 == 0o600
            async with Tenant(alice) as tenant, Agent(north) as agent:
                await agent.hello()
                await _leased(tenant, agent)
                async with unix_channel(market.settings.socket) as channel:
                    stub = AdminServiceStub(channel)
                    seen = await unary(stub.GetMarket(admin_pb2.GetMarketRequest(), timeout=PATIENCE_S))
                    with pytest.raises(Denied, match="is not a name"):
                        await invite(market, Role.TENANT, "No Name")
            assert (seen.market, seen.active_leases, seen.open_orders) == ("test", 1, 0)
            assert [(each.name, each.connected, each.lease_address) for each in seen.providers] == [
                ("north", True, "north:8443")
            ]
            assert [(each.name, each.balance.amount_micros) for each in seen.accounts] == [
                ("escrow:alice/1", 1_000_000),
                ("tenant:alice", 4_000_000),
            ]
        assert not market.settings.socket.exists()

    run(body)


def test_funding_twice_under_one_key_is_funding_once(tmp_path: Path) -> None:
    async def body() -> None:
        async with coordinator(tmp_path) as market:
            assert [await fund(market, "alice", 5, again="k") for _ in range(2)] == [5, 5]

    run(body)
