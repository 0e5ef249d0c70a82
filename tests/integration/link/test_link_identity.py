"""Who may hold a session, what a misfit is told, and how an identity is made and renewed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from provider.domain.errors import ConfigError
from provider.domain.ids import EffectId, ProviderId
from provider.domain.moment import HOUR, MINUTE, Instant
from provider.domain.secret import Secret
from provider.rpc.enrolment import enrol
from provider.rpc.identity import Identity, load, new_key, public_key_pem
from provider.rpc.join import JoinToken, decode, encode
from provider.rpc.member import Member, Role
from provider.sim.authority import ThrowawayAuthority
from provider.sim.waiting import until
from tests.integration.link.market_world import CLOCK, PROVIDER, Wire, lease, wire


def run(tmp_path: Path, scenario: Callable[[Wire], Awaitable[None]]) -> None:
    async def main() -> None:
        async with wire(tmp_path) as made:
            await scenario(made)

    asyncio.run(main())


async def lost(made: Wire, identity: Identity, address: str = "") -> str:
    """Why this identity gets no session."""
    async with made.agent(identity, address=address) as (_, follower):
        await until(follower.losses)
        assert follower.epochs() == []
        return follower.losses()[0]


def test_a_tenant_is_not_a_provider(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        why = await lost(made, made.member(Role.TENANT, "alice"))
        assert "this is for a provider of sim; the certificate is of the tenant alice of sim" in why

    run(tmp_path, scenario)


def test_another_authority_is_not_trusted_by_either_side(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        stranger = ThrowawayAuthority("sim").member(Role.PROVIDER, PROVIDER, at=CLOCK.now())
        assert "its certificate is not of this market's authority" in await lost(made, stranger)
        half = replace(stranger, authority_pem=made.authority.pem)
        assert "it may not accept this certificate" in await lost(made, half)

    run(tmp_path, scenario)


def test_another_markets_coordinator_is_not_talked_to(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        other = ThrowawayAuthority("other").member(Role.PROVIDER, PROVIDER, at=CLOCK.now())
        why = await lost(made, replace(other, authority_pem=made.authority.pem))
        assert "it is not this market's coordinator" in why

    run(tmp_path, scenario)


def test_an_expired_certificate_says_since_when_and_what_to_do(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        past = Instant(CLOCK.now() - 2 * HOUR)
        expired = made.authority.member(Role.PROVIDER, PROVIDER, at=past, until=Instant(past + HOUR))
        why = await lost(made, expired)
        assert why.startswith("the certificate of the provider frankfurt-1 of sim expired at ")
        assert why.endswith("Try: run `provider enroll TOKEN` with a new join token")
        assert made.proxy.connections == 0

    run(tmp_path, scenario)


def test_a_coordinators_certificate_is_looked_at_and_may_change_while_it_runs(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        good = made.served.identity.now
        past = Instant(CLOCK.now() - 2 * HOUR)
        made.served.identity.now = made.authority.member(
            Role.COORDINATOR, "", at=past, until=Instant(past + HOUR)
        )
        async with made.agent() as (_, follower):
            await until(follower.losses)
            assert "its certificate has expired" in follower.losses()[0]
            made.served.identity.now = good
            await until(follower.epochs)

    run(tmp_path, scenario)


def test_nobody_at_the_address_is_said_once(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        address = made.served.address
        await made.served.__aexit__()
        async with made.agent(address=address) as (_, follower):
            await until(follower.losses)
            await made.served.__aenter__()
            await until(follower.epochs)
        remedy = "Try: check the address, and that the coordinator runs"
        assert follower.losses() == [f"coordinator {address}: nothing listens there. {remedy}"]

    run(tmp_path, scenario)


def test_a_newer_session_of_the_same_provider_ends_the_older_one(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent(lives_in="old") as (_, older):
            await until(older.epochs)
            async with made.agent(lives_in="new") as (_, newer):
                await until(newer.epochs)
                await until(older.losses)
        assert "a newer session of this provider took over" in older.losses()[0]

    run(tmp_path, scenario)


def test_two_providers_do_not_disturb_each_other(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        second = made.member(name=ProviderId("paris-2"))
        async with made.agent(lives_in="1") as (one, first), made.agent(second, lives_in="2") as (two, other):
            await until(first.epochs)
            await until(other.epochs)
            await one.confirm_lease(EffectId("1"), lease(1))
            await two.confirm_lease(EffectId("2"), lease(2))
            assert (first.losses(), other.losses()) == ([], [])

    run(tmp_path, scenario)


def test_an_older_epoch_is_not_obeyed(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        made.market.epoch = 5
        async with made.agent() as (_, follower):
            await until(follower.epochs)
            made.market.epoch = 3
            made.proxy.cut()
            await until(lambda: any("epoch 4 is over, 6 followed it" in why for why in follower.losses()))
            await until(lambda: len(follower.epochs()) == 2)
            assert follower.epochs() == [6, 7]

    run(tmp_path, scenario)


def test_leaving_says_goodbye(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        async with made.agent() as (_, follower):
            await until(follower.epochs)
        assert made.served.goodbyes == ["the provider is stopping"]
        assert made.served.live_calls == 0

    run(tmp_path, scenario)


def test_token_keys_are_remembered_without_the_coordinator(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        key = public_key_pem(new_key())
        made.served.token_keys = (key,)
        async with made.agent() as (link, follower):
            await until(follower.epochs)
            assert link.token_keys() == (key,)
        made.proxy.close()
        async with made.agent() as (link, _):
            assert link.token_keys() == (key,)

    run(tmp_path, scenario)


class ShiftedClock:
    """The system's clock, ahead or behind."""

    def __init__(self, ahead_ms: int) -> None:
        self.ahead_ms = ahead_ms

    def now(self) -> Instant:
        return Instant(CLOCK.now() + self.ahead_ms)

    async def sleep_until(self, instant: Instant) -> None:
        await CLOCK.sleep_until(Instant(instant - self.ahead_ms))


def test_a_certificate_is_renewed_at_two_thirds_of_its_life_and_used_at_once(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        issued = Instant(CLOCK.now() - 45 * MINUTE)
        old = made.authority.member(Role.PROVIDER, PROVIDER, at=issued, until=Instant(issued + HOUR))
        async with made.agent(old, clock=ShiftedClock(0)) as (link, follower):
            await until(lambda: len(follower.epochs()) == 2)
            await link.confirm_lease(EffectId("1"), lease(1))
            assert follower.losses() == []
            assert link.renewal_problem is None
        kept = load(tmp_path / "agent", Role.PROVIDER, at=CLOCK.now(), market="sim")
        assert kept.certificate.serial != old.certificate.serial
        assert kept.key.reveal() != old.key.reveal()
        assert made.served.goodbyes == ["its certificate was renewed", "the provider is stopping"]

    run(tmp_path, scenario)


def join_token(made: Wire) -> JoinToken:
    member = Member(role=Role.PROVIDER, market="sim", name=PROVIDER)
    made.served.invitations["s3cret"] = member
    return JoinToken(
        member=member,
        address=made.served.address,
        enrolment_address=made.served.enrolment_address,
        authority_pem=made.authority.pem,
        secret=Secret("s3cret"),
    )


def test_a_join_token_makes_a_member_once(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        text = encode(join_token(made))
        identity = await enrol(decode(text))
        async with made.agent(identity) as (_, follower):
            await until(follower.epochs)
        with pytest.raises(ConfigError, match="the join token is not known, used or expired"):
            await enrol(decode(text))

    run(tmp_path, scenario)


def test_enrolling_where_nobody_answers_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    async def scenario(made: Wire) -> None:
        token = join_token(made)
        await made.served.__aexit__()
        with pytest.raises(ConfigError, match="does not answer") as nobody:
            await enrol(token)
        assert nobody.value.remedy == "check that it runs and that this machine reaches that address"
        await made.served.__aenter__()

    run(tmp_path, scenario)
