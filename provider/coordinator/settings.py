"""What the owner of a market can set."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from provider.coordinator.market import Rules
from provider.coordinator.market.draft import RULES
from provider.coordinator.tunnels import TUNNEL_LIMITS, TunnelLimits
from provider.domain.errors import ConfigError
from provider.rpc.settings import HEARTBEAT_INTERVAL_MS

BOOK = "market.db"
SOCKET = "coordinator.sock"


@dataclass(frozen=True, slots=True, kw_only=True)
class CoordinatorSettings:
    state: Path
    """Folder of the book, the authority's keys and the owner's socket. Made (0700) if missing."""
    market: str | None = None
    """Name of a new market; None takes up the one that is there."""
    listen: str = "0.0.0.0:7443"
    """host:port for members: mutual TLS. Port 0 takes a free one."""
    enrolment_listen: str = "0.0.0.0:7444"
    """host:port for newcomers, who have no certificate yet."""
    advertise: str | None = None
    """Host that goes into join tokens; None for the one listened at, this machine's name for all."""
    heartbeat_interval_ms: int = HEARTBEAT_INTERVAL_MS
    stop_grace_s: float = 5.0
    """How long goodbyes may take when the coordinator stops: an agent that does not read is cut off."""
    concurrent_calls_max: int = 20_000
    """Sessions and watches are calls too."""
    rules: Rules = RULES
    tunnels: TunnelLimits = TUNNEL_LIMITS

    @property
    def socket(self) -> Path:
        return self.state / SOCKET

    def advertised(self, listen: str, port: int) -> str:
        """host:port under which others reach what listens at ``listen`` on ``port``."""
        host = self.advertise or host_of(listen)
        if host in {"0.0.0.0", "[::]", ""}:  # noqa: S104 -- compared, not bound
            host = socket.gethostname()
        return f"{host}:{port}"


def host_of(address: str) -> str:
    """The host of ``host:port``. ``ConfigError`` where that is not what it is."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{address!r} is not host:port", remedy="write it like 0.0.0.0:7443")
    return host
