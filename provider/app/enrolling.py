"""Joining a market: a token in, an identity on disk out."""

from __future__ import annotations

import sys
from pathlib import Path

from provider.app.market_client import enrol
from provider.domain.errors import ConfigError
from provider.rpc import identity
from provider.rpc.identity import Identity
from provider.rpc.join import decode
from provider.rpc.member import Role


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
