"""The markets that this provider is in: a folder and an identity for each.

The first market's files are in the state folder itself, where they were before there could be several; each
later one has ``markets/NAME`` in it. Every id of a later market's leases says its name (``domain.ids``), so a
provider that leaves its first market leaves a note behind: no other market ever takes that place, and what is
kept of its old leases stays nobody else's.

Owns these folders. Does not own what a state file says of a market (``core.markets``).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from provider.core.state import AgentState
from provider.domain.errors import ConfigError
from provider.domain.ids import HOME, MarketId, ProviderId, market_name, member_name
from provider.domain.moment import Instant
from provider.rpc import identity
from provider.rpc.identity import Identity, check_valid, write_private
from provider.rpc.member import Role

FOLDER = "markets"
LEFT = "first-market-left.json"
"""In the state folder once the first market was left: which it was, and what we were called in it."""
SOCKET = "lease.sock"
"""In a market's folder: where its tunnels reach the lease service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """One market, and who we are there."""

    id: MarketId
    folder: Path
    who: Identity

    @property
    def market(self) -> str:
        return self.who.member.market

    @property
    def name(self) -> ProviderId:
        return ProviderId(self.who.member.name)

    @property
    def socket(self) -> Path:
        return self.folder / SOCKET


@dataclass(frozen=True, slots=True, kw_only=True)
class Memberships:
    """All of them, the first one first. There is at least one."""

    all: tuple[Membership, ...]
    provider: ProviderId
    """What this provider is called on this machine: as in its first market."""

    @property
    def names(self) -> dict[MarketId, ProviderId]:
        """For ``Policy.names``."""
        return {each.id: each.name for each in self.all if each.id != HOME}

    def find(self, market: str) -> Membership | None:
        return next((each for each in self.all if each.market == market), None)


def memberships(state_dir: Path, at: Instant) -> Memberships:
    """What ``state_dir`` holds. ``ConfigError``: none, a damaged one, or none whose certificate is good.

    A certificate that has ended keeps only its own market away, which says so for itself.
    """
    left = _left(state_dir)
    found = []
    if left is None:
        who = identity.load(state_dir, Role.PROVIDER, at=None)
        found.append(Membership(id=HOME, folder=state_dir, who=who))
    for path in sorted((state_dir / FOLDER).glob(f"*/{identity.FILE_NAME}")):
        market = path.parent.name
        who = identity.load(path.parent, Role.PROVIDER, at=None, market=market)
        found.append(Membership(id=MarketId(market), folder=path.parent, who=who))
    if not found:
        raise ConfigError(
            "this provider belongs to no market any more",
            remedy="run `provider enroll TOKEN`; the market's owner makes one with `coordinator invite`",
        )
    _one_is_good(found, at)
    return Memberships(all=tuple(found), provider=left.provider if left else found[0].name)


def _one_is_good(found: list[Membership], at: Instant) -> None:
    problems = []
    for each in found:
        try:
            check_valid(each.who, at)
        except ConfigError as problem:
            problems.append(problem)
    if len(problems) == len(found):
        raise problems[0]


def folder_for(state_dir: Path, market: str) -> Path:
    """Where the identity of a provider that joins ``market`` is kept."""
    if _left(state_dir) is None:
        path = state_dir / identity.FILE_NAME
        if not path.exists():
            return state_dir
        if identity.load(state_dir, Role.PROVIDER, at=None).member.market == market:
            return state_dir
    return state_dir / FOLDER / market


def forget(state_dir: Path, membership: Membership) -> None:
    """Remove the identity, for good: from then on this provider is not in that market."""
    if membership.id == HOME:
        note = {"market": membership.market, "provider": membership.name}
        write_private(state_dir / LEFT, json.dumps(note))
    (membership.folder / identity.FILE_NAME).unlink()
    if membership.id != HOME:
        shutil.rmtree(membership.folder)


def check_all_are_known(state: AgentState) -> None:
    """``ConfigError`` where there are leases of a market that we cannot speak to, and so not bill for."""
    known = {HOME, *state.policy.names}
    lost = sorted({lease.market for lease in state.leases} - known)
    if lost:
        raise ConfigError(
            f"there are leases of the market {lost[0]}, and no identity for it in {FOLDER}/{lost[0]}",
            remedy="put that folder back, or run `provider enroll TOKEN` with a new token of that market",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _First:
    """The first market, once it was left."""

    market: str
    provider: ProviderId


def _left(state_dir: Path) -> _First | None:
    path = state_dir / LEFT
    try:
        note = json.loads(path.read_text())
        return _First(market=market_name(note["market"]), provider=ProviderId(member_name(note["provider"])))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", remedy="restore it from a copy") from error
