"""Limits of the provider's own servers, and what tenants are told of where it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Defaults are for one machine with a few dozen leases."""

    listen: str = "0.0.0.0:8443"
    """host:port of the LeaseService; empty: no port, it is reached at ``socket`` alone."""
    socket: Path | None = None
    """A socket file that it listens at too, with the same TLS: where tunnels come in."""
    host: str = ""
    """Host name or address at which tenants reach leased ports; empty where it is not known."""
    calls_most: int = 256
    """At once, of all tenants; past it gRPC itself refuses."""
    streams_most: int = 128
    """Log and exec streams at once."""
    streams_per_lease: int = 8
    input_waiting: int = 16
    """Messages of exec input that wait for the container; then the tenant's stream is not read."""
    screenings_each: int = 60
    """Of one member of the market a minute: what is asked without a lease."""
    screenings_in_all: int = 600
    stop_grace_s: float = 1.0
    """For unary calls to end when the server stops."""
