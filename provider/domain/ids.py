"""Names of things: who, which market, deployment, order, lease, GPU.

Owns the text forms (``owner/dseq/gseq/oseq/provider``) and the short key under which a lease's
containers, networks and metrics can be found again. Does not own what the named things are.

Two markets may each have an ``alice`` with a deployment 1: two people. A provider in several markets calls
the tenants of all but its first one ``alice@market``, so that every id is good for all of them
(``within``); what it says to a market is in that market's own words (``as_told``).
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from typing import NewType, Self

Owner = NewType("Owner", str)
"""A tenant's account name, ``[a-z0-9][a-z0-9-]{0,62}``; at a provider that has joined another market
before that one, with ``@market`` after it."""
ProviderId = NewType("ProviderId", str)
"""A provider's name in its market, same alphabet as an owner's."""
MarketId = NewType("MarketId", str)
"""A market as a provider's own ids tell it: its name, or empty for the first one that was joined."""
HOME = MarketId("")
"""The market that was joined first."""
NodeName = NewType("NodeName", str)
GpuUuid = NewType("GpuUuid", str)
"""``GPU-…`` or ``MIG-…`` as NVML prints it: the only name of a GPU that survives a reboot."""
EffectId = NewType("EffectId", str)
"""Deterministic name of one intended effect, ``<subject>#<n>``: the same after a crash."""

IDLE_OWNER = Owner("idle@~")
"""In place of a tenant on what the operator's own idle job leaves on the engine: ``~`` names no market."""

MEMBER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
MARKET_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
"""Alphabet of SPIFFE trust domains without ``_``, so that it is good in DNS names too."""


def member_name(text: str) -> str:
    """``text`` if it can name a tenant or a provider, else ``ValueError``."""
    if not MEMBER_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name: use a-z, 0-9 and '-', at most 63, not starting with '-'")
    return text


def market_name(text: str) -> str:
    """``text`` if it can name a market, else ``ValueError``."""
    if not MARKET_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a market's name: use a-z, 0-9, '.' and '-', at most 63")
    return text


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class DeploymentId:
    """One deployment of one tenant. ``dseq`` counts from 1 and is unique within the owner."""

    owner: Owner
    dseq: int

    def __str__(self) -> str:
        return f"{self.owner}/{self.dseq}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``owner/dseq``; ``ValueError`` otherwise."""
        owner, numbers, _ = _split(text, 1, has_provider=False)
        return cls(owner=owner, dseq=numbers[0])


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class OrderId:
    """One order of one group: ``gseq`` counts the groups of a deployment, ``oseq`` its orders, from 1."""

    owner: Owner
    dseq: int
    gseq: int
    oseq: int

    def __str__(self) -> str:
        return f"{self.owner}/{self.dseq}/{self.gseq}/{self.oseq}"

    @property
    def deployment(self) -> DeploymentId:
        return DeploymentId(owner=self.owner, dseq=self.dseq)

    @property
    def market(self) -> MarketId:
        return _market(self.owner)

    @property
    def as_told(self) -> Self:
        """As its market names it."""
        return self if _AT not in self.owner else replace(self, owner=_account(self.owner))

    def within(self, market: MarketId) -> Self:
        """What ``market`` names so, as this provider names it."""
        return self if market == HOME else replace(self, owner=_within(self.owner, market))

    def lease(self, provider: ProviderId) -> LeaseId:
        """The lease this order becomes if ``provider``'s bid wins; a bid is named by it too."""
        return LeaseId(owner=self.owner, dseq=self.dseq, gseq=self.gseq, oseq=self.oseq, provider=provider)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``owner/dseq/gseq/oseq``; ``ValueError`` otherwise."""
        owner, (dseq, gseq, oseq), _ = _split(text, 3, has_provider=False)
        return cls(owner=owner, dseq=dseq, gseq=gseq, oseq=oseq)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class LeaseId:
    """An order and the provider that serves it. A bid carries the id of the lease it would become."""

    owner: Owner
    dseq: int
    gseq: int
    oseq: int
    provider: ProviderId

    def __str__(self) -> str:
        return f"{self.owner}/{self.dseq}/{self.gseq}/{self.oseq}/{self.provider}"

    @property
    def order(self) -> OrderId:
        return OrderId(owner=self.owner, dseq=self.dseq, gseq=self.gseq, oseq=self.oseq)

    @property
    def deployment(self) -> DeploymentId:
        return DeploymentId(owner=self.owner, dseq=self.dseq)

    @property
    def market(self) -> MarketId:
        return _market(self.owner)

    @property
    def as_told(self) -> Self:
        """As its market names it."""
        return self if _AT not in self.owner else replace(self, owner=_account(self.owner))

    def within(self, market: MarketId) -> Self:
        """What ``market`` names so, as this provider names it."""
        return self if market == HOME else replace(self, owner=_within(self.owner, market))

    @property
    def is_idle(self) -> bool:
        """Whether it is no lease, but a name of the operator's idle job on the engine (``domain.idle``)."""
        return self.owner == IDLE_OWNER

    @property
    def key(self) -> str:
        """12 characters ``[0-9a-v]`` derived from the id: in container names, labels and metrics."""
        digest = hashlib.sha256(str(self).encode()).digest()
        return base64.b32hexencode(digest[:10]).decode().lower()[:12]

    @classmethod
    def parse(cls, text: str, *, may_be_idle: bool = False) -> Self:
        """From ``owner/dseq/gseq/oseq/provider``; ``ValueError`` otherwise, as for what is no lease unless it
        ``may_be_idle``: nobody outside names one of these."""
        if may_be_idle and text.startswith(f"{IDLE_OWNER}/"):
            stand_in = cls.parse(text.replace(IDLE_OWNER, "idle", 1))
            return replace(stand_in, owner=IDLE_OWNER)
        owner, (dseq, gseq, oseq), provider = _split(text, 3, has_provider=True)
        return cls(owner=owner, dseq=dseq, gseq=gseq, oseq=oseq, provider=ProviderId(provider))


_AT = "@"


def _market(owner: Owner) -> MarketId:
    return MarketId(owner.partition(_AT)[2])


def _account(owner: Owner) -> Owner:
    return Owner(owner.partition(_AT)[0])


def _within(owner: Owner, market: MarketId) -> Owner:
    assert _AT not in owner, "a market knows nothing of others"
    return Owner(f"{owner}{_AT}{market}")


def _owner(text: str) -> Owner:
    account, at, market = text.partition(_AT)
    return Owner(member_name(account) + (_AT + market_name(market) if at else ""))


def _split(text: str, count: int, *, has_provider: bool) -> tuple[Owner, tuple[int, ...], str]:
    parts = text.split("/")
    if len(parts) != 1 + count + has_provider:
        shape = "/".join(("owner", "dseq", "gseq", "oseq")[: 1 + count]) + (
            "/provider" if has_provider else ""
        )
        raise ValueError(f"{text!r} is not an id of the form {shape}")
    numbers = parts[1 : 1 + count]
    if not all(number.isascii() and number.isdigit() and int(number) > 0 for number in numbers):
        raise ValueError(f"{text!r} is not an id: its numbers count from 1")
    provider = member_name(parts[-1]) if has_provider else ""
    return _owner(parts[0]), tuple(map(int, numbers)), provider
