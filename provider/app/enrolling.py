"""Joining a market and staying in it: a token in, an identity on disk out, renewed before it ends."""

from __future__ import annotations

import sys
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.domain.errors import ConfigError, Temporary
from provider.rpc import identity
from provider.rpc.enrolment import enrol, renew
from provider.rpc.identity import Identity
from provider.rpc.join import JoinToken, decode
from provider.rpc.member import Member, Role
from provider.rpc.settings import mtls_channel


def token_for(text: str, role: Role) -> JoinToken:
    """The join token ``text`` (``-``: from standard input). ``ConfigError`` where it is not for ``role``."""
    token = decode(sys.stdin.read() if text == "-" else text)
    if token.member.role is not role:
        raise ConfigError(
            f"this token is for a {token.member.role}, not for a {role}",
            remedy=f"{token.member.role} enroll TOKEN, or ask for: coordinator invite {role} NAME",
        )
    return token


async def join(token: JoinToken, directory: Path) -> Identity:
    """Trade ``token`` for an identity in ``directory``."""
    joined = await enrol(token)
    identity.save(joined, directory)
    return joined


async def fresh(who: Identity, directory: Path) -> Identity:
    """``who``, renewed and saved if two thirds of its certificate's life are over.

    A coordinator that cannot be reached renews nothing: what is asked of it next will say so.
    """
    if SystemClock().now() < who.renew_at:
        return who
    coordinator = Member(role=Role.COORDINATOR, market=who.member.market, name="")
    async with mtls_channel(who.coordinator, who, expect=coordinator) as channel:
        try:
            renewed = await renew(channel, who)
        except Temporary:
            return who
    identity.save(renewed, directory)
    return renewed
