"""Who belongs to the market: invitations, enrolment, a provider's sessions, and a tenant's funds."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from provider.coordinator.denial import Denial, Denied
from provider.coordinator.escrow import Transfer, provider_account, tenant_account
from provider.coordinator.market.draft import Draft
from provider.coordinator.market.requests import (
    Enrol,
    Enrolled,
    Fund,
    Funded,
    Hello,
    Invite,
    Invited,
    Reply,
    Welcomed,
)
from provider.coordinator.rows import InviteRow, MemberRow, Role
from provider.domain.ids import MEMBER_NAME, Owner, ProviderId
from provider.domain.moment import after
from provider.domain.money import Money

_AGAIN = "ask the market's owner for a new join token"


def decide(draft: Draft, request: Invite | Fund | Enrol | Hello) -> tuple[Draft, Reply] | Denied:
    match request:
        case Invite():
            return invite(draft, request)
        case Fund():
            return fund(draft, request)
        case Enrol():
            return enrol(draft, request)
        case Hello():
            return hello(draft, request)
        case _:
            assert_never(request)


def invite(draft: Draft, request: Invite) -> tuple[Draft, Reply] | Denied:
    """A secret for one new member, or for one that lost its key."""
    if not MEMBER_NAME.fullmatch(request.member.name):
        return _bad_name(request.member.name)
    if not 0 < request.ttl <= draft.rules.invite_ttl_max:
        return Denied(
            why=Denial.AMOUNT_INVALID,
            what=f"an invitation cannot be good for {request.ttl} ms",
            remedy=f"choose at most {draft.rules.invite_ttl_max // 3_600_000} hours",
        )
    earlier = draft.book.invites.get(request.key)
    if earlier is not None and (earlier.member != request.member or earlier.used_key):
        return Denied(why=Denial.KEY_REUSED, what=f"the key {request.key} made another invitation")
    expires = after(draft.at, request.ttl)
    row = InviteRow(key=request.key, digest=request.digest, member=request.member, expires_at=expires)
    return draft.put(row), Invited(expires_at=expires)


def enrol(draft: Draft, request: Enrol) -> tuple[Draft, Reply] | Denied:
    """Trade a secret for membership, once; the same key and signing key may ask again for the lost answer."""
    row = next((row for row in draft.book.invites.values() if row.digest == request.digest), None)
    if row is None:
        return Denied(why=Denial.INVITE_UNKNOWN, what="no such join token was made here", remedy=_AGAIN)
    if row.used_key and (row.used_key, row.used_csr) != (request.key, request.csr):
        return Denied(why=Denial.INVITE_USED, what="this join token was used already", remedy=_AGAIN)
    if draft.at >= row.expires_at:
        return Denied(why=Denial.INVITE_EXPIRED, what="this join token has expired", remedy=_AGAIN)
    if row.used_key:
        return draft, Enrolled(member=row.member)
    member = draft.book.members.get(row.member) or MemberRow(id=row.member, enrolled_at=draft.at)
    used = replace(row, used_key=request.key, used_csr=request.csr)
    return draft.put(used, member), Enrolled(member=row.member)


def fund(draft: Draft, request: Fund) -> tuple[Draft, Reply] | Denied:
    """New money on a member's account, who may not be one yet."""
    if not MEMBER_NAME.fullmatch(request.owner):
        return _bad_name(request.owner)
    denom = request.amount.denom
    is_provider = request.role is Role.PROVIDER
    account = (
        provider_account(ProviderId(request.owner), denom)
        if is_provider
        else tenant_account(Owner(request.owner), denom)
    )
    moved = draft.moved(
        Transfer(
            subject=f"fund:{request.key}",
            source=None,
            target=account,
            amount=request.amount.amount,
            at=draft.at,
        )
    )
    if isinstance(moved, Denied):
        return moved
    available = Money(amount=moved.book.ledger.balance(account), denom=account.denom)
    return moved, Funded(available=available)


def hello(draft: Draft, request: Hello) -> tuple[Draft, Reply] | Denied:
    """A new session, fenced off from the one before by a higher epoch."""
    book = draft.book
    row = book.member(Role.PROVIDER, request.provider)
    if row is None:
        return Denied(
            why=Denial.MEMBER_UNKNOWN,
            what=f"the provider {request.provider} is not a member of {book.market}",
            remedy=_AGAIN,
        )
    if request.market and request.market != book.market:
        return Denied(
            why=Denial.MARKET_DIFFERS,
            what=f"this is the market {book.market}, and the agent's state is of {request.market}",
            remedy="give the agent a state folder of its own for each market",
        )
    if request.last_version > book.version:
        return Denied(
            why=Denial.VERSION_AHEAD,
            what=f"the agent remembers change {request.last_version} of {book.market}, "
            f"and the market is at {book.version}: it was restored from an older copy",
            remedy="start the agent with a fresh state folder once its leases are gone",
        )
    welcomed = replace(
        row,
        epoch=row.epoch + 1,
        instance=request.instance,
        lease_address=request.lease_address,
        software=request.software,
    )
    return draft.put(welcomed), Welcomed(epoch=welcomed.epoch)


def _bad_name(name: str) -> Denied:
    return Denied(
        why=Denial.NAME_INVALID,
        what=f"{name!r} is not a name",
        remedy="use a-z, 0-9 and '-', at most 63, not starting with '-'",
    )
