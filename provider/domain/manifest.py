"""The manifest: what a tenant's SDL becomes and what a provider runs.

Field for field Akash's manifest. ``None`` where Akash's JSON says ``null`` (as against an empty list)
because the version hash is taken over that JSON. Parsing, JSON and the hash are in ``sdl``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from provider.domain.resources import Resources
from provider.domain.secret import Secret


class Proto(StrEnum):
    TCP = "TCP"
    UDP = "UDP"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """How the ingress treats requests; times in milliseconds, sizes in bytes."""

    max_body_bytes: int = 1_048_576
    read_timeout_ms: int = 60_000
    send_timeout_ms: int = 60_000
    next_tries: int = 3
    next_timeout_ms: int = 0
    next_cases: tuple[str, ...] = ("error", "timeout")
    proxy_buffer_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose:
    """One port of a service and who may reach it."""

    port: int
    external_port: int = 0
    """As written (``as``); 0 where absent, and then the port itself counts."""
    proto: Proto = Proto.TCP
    service: str = ""
    """The service of the lease that may reach it; empty for all of them, or for the world if global."""
    is_global: bool = False
    hosts: tuple[str, ...] | None = None
    http_options: HttpOptions = HttpOptions()
    ip: str = ""
    endpoint_sequence_number: int = 0

    @property
    def effective_port(self) -> int:
        """The port as seen from outside."""
        return self.external_port or self.port


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """Where a named volume appears in the container."""

    name: str
    mount: str
    read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceParams:
    """``None`` where the SDL did not say."""

    storage: tuple[MountPoint, ...] | None = None
    permissions: tuple[str, ...] | None = None
    tee: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A private registry's login. Given to the engine for a pull; never in a log, a label or a command."""

    host: str
    username: str
    password: Secret
    email: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """``count`` replicas of one image."""

    name: str
    image: str
    resources: Resources
    count: int = 1
    command: tuple[str, ...] | None = None
    """Replaces the image's entrypoint."""
    args: tuple[str, ...] | None = None
    """Replaces the image's command."""
    env: tuple[str, ...] | None = None
    """``NAME=value`` or ``NAME``, in the order written."""
    expose: tuple[Expose, ...] = ()
    """Sorted: service, port, protocol, global first."""
    params: ServiceParams | None = None
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestGroup:
    """What runs together at one provider: the services of one placement, sorted by name."""

    name: str
    services: tuple[Service, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole deployment, groups sorted by name."""

    groups: tuple[ManifestGroup, ...]

    def group(self, name: str) -> ManifestGroup | None:
        """The group of that name, if there is one."""
        return next((group for group in self.groups if group.name == name), None)
