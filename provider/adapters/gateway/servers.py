"""The provider's two servers: tenants over mutual TLS, the operator over a local socket.

Both speak the standard health service; reflection (for grpcurl) is on the operator's socket only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from provider.adapters.gateway.lease_service import LeaseGateway
from provider.adapters.gateway.operator_service import OperatorGateway
from provider.adapters.gateway.settings import GatewaySettings
from provider.rpc.guard import Guard
from provider.rpc.identity import LiveIdentity
from provider.rpc.settings import (
    LEASE_MESSAGE_BYTES,
    bind,
    bind_unix,
    mtls_server_credentials,
    server,
)
from provider.rpc.v1 import lease_pb2, operator_pb2
from provider.rpc.v1.lease_pb2_grpc import add_LeaseServiceServicer_to_server
from provider.rpc.v1.operator_pb2_grpc import add_OperatorServiceServicer_to_server

_LEASE = lease_pb2.DESCRIPTOR.services_by_name["LeaseService"].full_name
_OPERATOR = operator_pb2.DESCRIPTOR.services_by_name["OperatorService"].full_name


class LeaseServer:
    """Serves ``gateway`` while entered; ``ConfigError`` on entering when the port is taken."""

    def __init__(self, settings: GatewaySettings, identity: LiveIdentity, gateway: LeaseGateway) -> None:
        self._settings = settings
        self._identity = identity
        self._gateway = gateway
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()
        self.port = 0
        """Listened on, once entered; 0 for none."""

    async def __aenter__(self) -> Self:
        self._server = server(
            [Guard()], concurrent_calls=self._settings.calls_most, message_bytes=LEASE_MESSAGE_BYTES
        )
        add_LeaseServiceServicer_to_server(self._gateway, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._settings.listen:
            credentials = mtls_server_credentials(self._identity)
            self.port = bind(self._server, self._settings.listen, credentials)
        if self._settings.socket is not None:
            bind_unix(self._server, self._settings.socket, mtls_server_credentials(self._identity))
        await self._server.start()
        await self._health.set(_LEASE, health_pb2.HealthCheckResponse.SERVING)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None, "entered before"
        await self._health.enter_graceful_shutdown()
        self._gateway.slots.closing.set()
        await self._server.stop(self._settings.stop_grace_s)


class OperatorServer:
    """Serves ``gateway`` at the socket ``path`` (0600) while entered."""

    def __init__(self, path: Path, gateway: OperatorGateway) -> None:
        self._path = path
        self._gateway = gateway
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()

    async def __aenter__(self) -> Self:
        self._server = server([Guard(requires_deadline=False)], concurrent_calls=16)
        add_OperatorServiceServicer_to_server(self._gateway, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (_OPERATOR, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        bind_unix(self._server, self._path)
        await self._server.start()
        await self._health.set(_OPERATOR, health_pb2.HealthCheckResponse.SERVING)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._server is not None, "entered before"
        await self._health.enter_graceful_shutdown()
        self._gateway.slots.closing.set()
        await self._server.stop(None)
        self._path.unlink(missing_ok=True)
