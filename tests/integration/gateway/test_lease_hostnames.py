"""Names moved over the wire: who may, and what is answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.core.events import MigrationRequested
from provider.domain.errors import PeerError, Permanent
from provider.domain.market import Refusal, Refused
from provider.rpc.calls import unary
from provider.rpc.codec import lease_id_to_pb
from provider.rpc.status import Denied
from provider.rpc.tokens import Scope
from provider.rpc.v1 import lease_pb2 as pb
from tests.integration.gateway.world import LEASE, World, bearer, run

SOURCE = replace(LEASE, dseq=3)
REQUEST = pb.MigrateHostnamesRequest(
    lease=lease_id_to_pb(LEASE), source=lease_id_to_pb(SOURCE), hostnames=["Shop.example.org"]
)


async def migrate(world: World, request: pb.MigrateHostnamesRequest, scope: Scope = Scope.MANIFEST) -> None:
    async with world.stub() as stub:
        token = world.token(scopes=(scope,))
        await unary(stub.MigrateHostnames(request, timeout=10, metadata=bearer(token)))


def test_a_tenant_moves_names_to_a_lease_that_its_token_is_for() -> None:
    async def scenario(world: World) -> None:
        await migrate(world, REQUEST)
        (event,) = world.agent.events
        assert event == MigrationRequested(lease=LEASE, source=SOURCE, hostnames=("shop.example.org",))

    run(scenario)


def test_a_token_for_something_else_moves_nothing() -> None:
    async def scenario(world: World) -> None:
        with pytest.raises((Permanent, PeerError, Denied)):
            await migrate(world, REQUEST, Scope.LOGS)
        assert world.agent.events == []

    run(scenario)


def test_a_refusal_is_said_with_its_facts() -> None:
    async def scenario(world: World) -> None:
        world.agent.refused = Refused(why=Refusal.HOSTNAME_UNKNOWN, required="shop.example.org")
        with pytest.raises(Permanent, match=r"hostname unknown \(required shop\.example\.org\)"):
            await migrate(world, REQUEST)

    run(scenario)


def test_the_source_must_be_named() -> None:
    async def scenario(world: World) -> None:
        with pytest.raises(Permanent, match=r"source: is missing"):
            await migrate(world, pb.MigrateHostnamesRequest(lease=REQUEST.lease, hostnames=["a.example.org"]))
        assert world.agent.events == []

    run(scenario)
