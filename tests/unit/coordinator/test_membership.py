"""Invitations, enrolment, sessions, funds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.coordinator.denial import Denial
from provider.coordinator.market.requests import (
    Enrol,
    Enrolled,
    Fund,
    Funded,
    Hello,
    Invite,
    Invited,
    Welcomed,
)
from provider.coordinator.rows import MemberId, Role
from provider.domain.ids import Owner
from provider.domain.moment import HOUR, Instant
from provider.domain.money import Money
from tests.market import ALICE, NORTH, Market, digest, uact

EAST = MemberId(role=Role.PROVIDER, name="east")
INVITE = Invite(key="i", member=EAST, digest=digest("secret"), ttl=HOUR)
ENROL = Enrol(key="e", digest=digest("secret"), csr="key-1")
HELLO = Hello(
    provider=NORTH, instance="boot-1", market="", last_version=0, lease_address="north:8443", software="1"
)


@pytest.fixture
def market() -> Market:
    return Market()


def test_a_secret_is_good_once_but_the_answer_can_be_asked_for_again(market: Market) -> None:
    assert market.ask(INVITE) == Invited(expires_at=Instant(market.at + HOUR))
    assert market.ask(ENROL) == Enrolled(member=EAST)
    assert market.ask(ENROL) == Enrolled(member=EAST)
    assert market.denied(replace(ENROL, key="other")) is Denial.INVITE_USED
    assert market.denied(replace(ENROL, csr="key-2")) is Denial.INVITE_USED


def test_a_secret_expires_on_the_millisecond(market: Market) -> None:
    market.ask(INVITE)
    market.later(HOUR)
    assert market.denied(ENROL) is Denial.INVITE_EXPIRED
    market.later(-1)
    assert market.denied(ENROL) is None


def test_an_unknown_secret_is_refused(market: Market) -> None:
    assert market.denied(ENROL) is Denial.INVITE_UNKNOWN


def test_an_invitation_asked_for_twice_has_the_newer_secret(market: Market) -> None:
    market.ask(INVITE)
    market.ask(replace(INVITE, digest=digest("newer")))
    assert market.denied(ENROL) is Denial.INVITE_UNKNOWN
    assert market.denied(replace(ENROL, digest=digest("newer"))) is None
    assert market.denied(INVITE) is Denial.KEY_REUSED


@pytest.mark.parametrize("name", ["", "-a", "A", "a" * 64, "a/b", "../x"])
def test_members_have_names(market: Market, name: str) -> None:
    assert market.denied(replace(INVITE, member=replace(EAST, name=name))) is Denial.NAME_INVALID
    assert market.denied(Fund(key="f", owner=Owner(name), amount=uact(1))) is Denial.NAME_INVALID


def test_a_member_that_lost_its_key_is_the_same_member_again(market: Market) -> None:
    market.enrol(Role.PROVIDER, NORTH)
    market.ask(HELLO)
    before = market.book.provider(NORTH)
    market.enrol(Role.PROVIDER, NORTH)
    assert market.book.provider(NORTH) == before


def test_every_session_has_a_higher_epoch_than_the_one_before(market: Market) -> None:
    market.enrol(Role.PROVIDER, NORTH)
    assert [market.ask(HELLO) for _ in range(3)] == [Welcomed(epoch=epoch) for epoch in (1, 2, 3)]
    row = market.book.provider(NORTH)
    assert row is not None
    assert (row.instance, row.lease_address) == ("boot-1", "north:8443")


def test_a_session_of_another_market_or_of_the_future_is_refused(market: Market) -> None:
    assert market.denied(HELLO) is Denial.MEMBER_UNKNOWN
    market.enrol(Role.PROVIDER, NORTH)
    assert market.denied(replace(HELLO, market="other")) is Denial.MARKET_DIFFERS
    assert market.denied(replace(HELLO, market="test", last_version=1)) is Denial.VERSION_AHEAD


def test_funding_twice_with_one_key_is_funding_once(market: Market) -> None:
    fund = Fund(key="f", owner=ALICE, amount=uact(5))
    assert [market.ask(fund), market.ask(fund)] == [Funded(available=uact(5))] * 2
    assert market.denied(replace(fund, amount=uact(6))) is Denial.TRANSFER_DIFFERS
    assert market.denied(replace(fund, owner=Owner("bob"))) is Denial.TRANSFER_DIFFERS
    assert market.ask(replace(fund, key="g")) == Funded(available=uact(10))


@pytest.mark.parametrize("amount", [0, -1, 2**63])
def test_amounts_that_cannot_be_are_refused(market: Market, amount: int) -> None:
    money = Money(amount=amount, denom=uact(0).denom)
    assert market.denied(Fund(key="f", owner=ALICE, amount=money)) is Denial.AMOUNT_INVALID
