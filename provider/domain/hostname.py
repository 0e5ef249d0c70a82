"""Host names under which a lease's HTTP ports are served. Who gets which is ``core.hostnames``."""

from __future__ import annotations

from dataclasses import dataclass

from provider.domain.ids import LeaseId
from provider.domain.manifest import HttpOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class HostnameBinding:
    """A name, and the port of a service that answers to it."""

    hostname: str
    """Lower case, without a port."""
    lease: LeaseId
    service: str
    port: int
    """Inside the container."""
    options: HttpOptions
