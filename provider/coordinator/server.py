"""A running coordinator: its parts, put together, started and stopped in order.

Starting: book, authority, writer, ports, socket. Stopping: no new work, GoAway to the agents, a grace for
calls in flight, then the ports, the writer and the book. Whatever happens in between, the next start finds
all that was ever acknowledged.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc.aio
from grpc_health.v1 import health_pb2_grpc  # type: ignore[import-untyped]
from grpc_health.v1.health import aio as health  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from provider.coordinator import clockwork
from provider.coordinator.authority import Authority
from provider.coordinator.clockwork import Clockwork
from provider.coordinator.market.permission import tunnel_denied
from provider.coordinator.market.requests import Resumed
from provider.coordinator.screenings import Screenings
from provider.coordinator.servicers.admin import AdminServicer
from provider.coordinator.servicers.enrolment import EnrolmentServicer
from provider.coordinator.servicers.market import MarketServicer
from provider.coordinator.servicers.session import SUPERSEDED, SessionSettings
from provider.coordinator.servicers.tenant import TenantServicer
from provider.coordinator.servicers.tunnel import TunnelServicer
from provider.coordinator.sessions import Sessions
from provider.coordinator.settings import BOOK, CoordinatorSettings, host_of
from provider.coordinator.store import BookStore
from provider.coordinator.tunnels import NAME_BYTES, Tunnels
from provider.coordinator.watchers import Watchers
from provider.coordinator.writer import Clock, Committed, Writer
from provider.domain.errors import ConfigError
from provider.domain.ids import market_name
from provider.rpc import settings as wire
from provider.rpc.guard import Guard
from provider.rpc.identity import LiveIdentity
from provider.rpc.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    enrolment_pb2,
    enrolment_pb2_grpc,
    market_pb2,
    market_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
    tunnel_pb2,
    tunnel_pb2_grpc,
)

_ENROLMENTS_AT_ONCE = 64
_ADMIN_CALLS_AT_ONCE = 64
_SERVICES = tuple(
    file.services_by_name[name].full_name
    for file, name in (
        (admin_pb2.DESCRIPTOR, "AdminService"),
        (market_pb2.DESCRIPTOR, "MarketService"),
        (tenant_pb2.DESCRIPTOR, "TenantService"),
        (enrolment_pb2.DESCRIPTOR, "EnrolmentService"),
        (tunnel_pb2.DESCRIPTOR, "TunnelService"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCoordinator:
    """Where it is reached."""

    market: str
    address: str
    """host:port for members, as join tokens have it."""
    enrolment_address: str
    port: int
    enrolment_port: int
    authority_pem: str
    settings: CoordinatorSettings
    tunnels: Tunnels
    """Open now."""


async def serve(
    settings: CoordinatorSettings,
    clock: Clock,
    ready: Callable[[RunningCoordinator], None],
    entropy: Callable[[int], bytes] = os.urandom,
) -> None:
    """Run a market until cancelled. ``ready`` is called once it can be reached.

    ``ConfigError``: state that is another's or another process's, ports that are taken.
    """
    async with running(settings, clock, entropy) as coordinator:
        ready(coordinator)
        await asyncio.Event().wait()


@asynccontextmanager
async def running(
    settings: CoordinatorSettings, clock: Clock, entropy: Callable[[int], bytes] = os.urandom
) -> AsyncIterator[RunningCoordinator]:
    """A coordinator for the length of the block."""
    _check(settings)
    with ExitStack() as stack:
        store = BookStore.open(settings.state / BOOK)
        stack.callback(store.close)
        book = store.load(settings.market, entropy(16))
        authority = Authority.open(settings.state, book.market, clock.now(), is_new=not book.members)
        writer = stack.enter_context(Writer(store, book, clock, settings.rules))
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(writer.run())]
                await writer.ask(Resumed())
                parts = _Parts(settings, clock, writer, authority, entropy)
                background += [
                    tasks.create_task(parts.clockwork.run()),
                    tasks.create_task(clockwork.forget_answers(writer, clock)),
                    tasks.create_task(clockwork.renew(parts.identity, authority.own_identity, clock)),
                ]
                try:
                    yield await parts.start()
                finally:
                    await parts.stop()
                    for task in background:
                        task.cancel()
        except BaseExceptionGroup as group:
            raise _first(group) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong, as whoever entered the block expects it."""
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


class _Parts:
    """All that listens, and what feeds it."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        clock: Clock,
        writer: Writer,
        authority: Authority,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._writer = writer
        self._authority = authority
        self._entropy = entropy
        self._servers: list[grpc.aio.Server] = []
        self._health = health.HealthServicer()
        self._watchers = Watchers()
        self._sessions = Sessions(writer.book, SUPERSEDED)
        self._screenings = Screenings(self._sessions)
        self._tunnels = Tunnels(settings.tunnels, lambda: entropy(NAME_BYTES).hex())
        self.clockwork = Clockwork(writer, clock)
        self.clockwork.watch(writer.book, writer.book.live)
        self.identity = LiveIdentity(authority.own_identity(clock.now()))
        writer.publish = self._publish

    def _publish(self, committed: Committed) -> None:
        self._sessions.publish(committed)
        touched = clockwork.touched(committed.rows)
        self._watchers.wake(touched)
        book = committed.book
        self._tunnels.review(touched, lambda lease: tunnel_denied(book, lease.owner, lease) is None)
        self.clockwork.watch(committed.book, touched)

    async def start(self) -> RunningCoordinator:
        settings = self._settings
        members, port = self._members()
        newcomers, enrolment_port = self._newcomers()
        coordinator = RunningCoordinator(
            market=self._authority.market,
            address=settings.advertised(settings.listen, port),
            enrolment_address=settings.advertised(settings.enrolment_listen, enrolment_port),
            port=port,
            enrolment_port=enrolment_port,
            authority_pem=self._authority.pem,
            settings=settings,
            tunnels=self._tunnels,
        )
        for server in (members, newcomers, self._owner(coordinator)):
            await server.start()
            self._servers.append(server)
        return coordinator

    def _members(self) -> tuple[grpc.aio.Server, int]:
        settings, writer = self._settings, self._writer
        server = wire.server(
            [Guard()],
            concurrent_calls=settings.concurrent_calls_max,
            window_bytes=wire.TUNNEL_WINDOW_BYTES,
        )
        sessions = SessionSettings(
            token_keys_pem=(self._authority.token_public_pem,),
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            bid_deposit=settings.rules.bid_deposit,
        )
        market_pb2_grpc.add_MarketServiceServicer_to_server(
            MarketServicer(writer, self._screenings, self._clock, sessions), server
        )
        tenant_pb2_grpc.add_TenantServiceServicer_to_server(
            TenantServicer(writer, self._watchers, self._authority, self._clock, self._entropy), server
        )
        enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server(
            EnrolmentServicer(writer, self._authority, self._clock), server
        )
        tunnel_pb2_grpc.add_TunnelServiceServicer_to_server(
            TunnelServicer(writer, self._sessions, self._tunnels), server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server, wire.bind(server, settings.listen, wire.mtls_server_credentials(self.identity))

    def _newcomers(self) -> tuple[grpc.aio.Server, int]:
        server = wire.server([Guard()], concurrent_calls=_ENROLMENTS_AT_ONCE)
        enrolment_pb2_grpc.add_EnrolmentServiceServicer_to_server(
            EnrolmentServicer(self._writer, self._authority, self._clock), server
        )
        credentials = wire.tls_server_credentials(self.identity)
        return server, wire.bind(server, self._settings.enrolment_listen, credentials)

    def _owner(self, coordinator: RunningCoordinator) -> grpc.aio.Server:
        server = wire.server([Guard(requires_deadline=False)], concurrent_calls=_ADMIN_CALLS_AT_ONCE)
        addresses = (coordinator.address, coordinator.enrolment_address)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(
            AdminServicer(self._writer, self._screenings, self._authority, addresses, self._entropy), server
        )
        # Not on the open ports: whoever may list what there is is the owner.
        reflection.enable_server_reflection((*_SERVICES, reflection.SERVICE_NAME), server)
        wire.bind_unix(server, self._settings.socket)
        return server

    async def stop(self) -> None:
        """Agents are asked to leave and given a grace; then everything ends."""
        await self._health.enter_graceful_shutdown()
        self._watchers.stop()
        self._tunnels.stop()
        try:
            async with asyncio.timeout(self._settings.stop_grace_s):
                await self._sessions.stop()
        except TimeoutError:
            pass  # an agent that does not leave is cut off: it comes back, and misses nothing
        async with asyncio.TaskGroup() as tasks:
            for server in self._servers:
                tasks.create_task(server.stop(grace=1.0))
        self._settings.socket.unlink(missing_ok=True)


def _check(settings: CoordinatorSettings) -> None:
    for address in (settings.listen, settings.enrolment_listen):
        host_of(address)
    if settings.market is not None:
        try:
            market_name(settings.market)
        except ValueError as error:
            raise ConfigError(str(error), remedy="choose another --market") from error
