"""Joining a market and staying in it: a token in, an identity on disk out, renewed before it ends."""

from __future__ import annotations

import sys
from pathlib import Path

from provider.adapters.clock import SystemClock
from provider.domain.errors import ConfigError, Temporary
from provider.rpc import identity
from provider.rpc.enrolment import enrol, renew
from provider.rpc.identity import Identity
from provider.rpc.join import decode
from provider.rpc.member import Member, Role
from provider.rpc.settings import mtls_channel


async def join(text: str, directory: Path, role: Role) -> Identity:
    """Trade the join token ``text`` (``-``: read from standard input) for an identity in ``directory``."""
    token = decode(sys.stdin.read() if text == "-" else text)
    if token.member.role is not role:
        raise ConfigError(
            f"this token is for a {token.member.role}, not for a {role}",
            remedy=f"{token.member.role} enroll TOKEN, or ask for: coordinator invite {role} NAME",
        )
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
