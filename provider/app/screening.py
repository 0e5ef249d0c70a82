"""Asking providers whether they would bid, and what they said.

A market's tenants ask each over a connection of its own, none of them a lease's; its owner over the sessions.

Owns whom to ask and what an answer that did not come is. Does not own what is asked (``sdl``) nor what is
decided (the provider's ``core.screening``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from provider.app.lease_client import reaching
from provider.domain.errors import ConfigError, ProviderError
from provider.domain.ids import member_name
from provider.domain.market import GroupSpec
from provider.rpc import codec, settings
from provider.rpc.calls import unary
from provider.rpc.identity import Identity
from provider.rpc.member import Member, Role
from provider.rpc.v1 import admin_pb2, lease_pb2, lease_pb2_grpc


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A provider, and where it listens."""

    name: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one provider said of one group; ``problem`` where it said nothing."""

    group: str
    provider: str
    answer: lease_pb2.ScreenBidResponse | None = None
    problem: str = ""


def asked(text: str) -> Asked:
    """From ``NAME@HOST:PORT``."""
    name, _, address = text.partition("@")
    try:
        member_name(name)
    except ValueError as problem:
        raise ConfigError(f"--provider {text}: {problem}", remedy="write it like north@gpu1:8443") from None
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(
            f"--provider {text}: {address!r} is not HOST:PORT", remedy="write it like north@gpu1:8443"
        )
    return Asked(name=name, address=address)


def said_of(view: admin_pb2.ScreeningView) -> Said:
    """As the market passed it on."""
    answer = view.answer if view.HasField("answer") else None
    return Said(group=view.group, provider=view.provider, answer=answer, problem=view.problem)


async def ask_all(who: Identity, providers: Iterable[Asked], groups: Sequence[GroupSpec]) -> list[Said]:
    """Every provider's word on every group, by group, then as the providers were named."""
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(_ask(who, each, groups)) for each in providers]
    by_provider = [task.result() for task in asking]
    return [said[place] for place in range(len(groups)) for said in by_provider]


async def _ask(who: Identity, provider: Asked, groups: Sequence[GroupSpec]) -> list[Said]:
    expect = Member(role=Role.PROVIDER, market=who.member.market, name=provider.name)
    whom = f"the provider {provider.name} at {provider.address}"
    said = []
    async with settings.mtls_channel(provider.address, who, expect=expect) as channel:
        stub: lease_pb2_grpc.LeaseServiceAsyncStub = lease_pb2_grpc.LeaseServiceStub(channel)
        for group in groups:
            request = lease_pb2.ScreenBidRequest(group=codec.group_to_pb(group))
            try:
                async with reaching(whom):
                    answer = await unary(stub.ScreenBid(request, timeout=settings.DEADLINE_S))
            except ProviderError as problem:
                said.append(Said(group=group.name, provider=provider.name, problem=problem.what))
            else:
                said.append(Said(group=group.name, provider=provider.name, answer=answer))
    return said
