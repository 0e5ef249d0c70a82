"""What an operator decides about the ingress. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

Address = tuple[str, int]
"""Host and port to listen on."""


class Tls(StrEnum):
    """Where certificates come from."""

    NONE = "none"
    INTERNAL = "internal"
    """An authority of this daemon's own: for tests and closed networks."""
    ACME = "acme"
    """Let's Encrypt, asked the first time that a name is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressSettings:
    """How names are served. What names there are is the core's."""

    http: Address
    https: Address
    tls: Tls = Tls.NONE
    acme_email: str = ""
    certificate: Path | None = None
    """A chain in PEM, with ``key``: for the names that it covers no other is asked for."""
    key: Path | None = None
    program: str = "caddy"
    user: str = "nobody"
    """Whom the proxy runs as; empty for the daemon's own user."""
    folder: Path
    """Where it keeps its certificates."""
    start_s: float = 15
    """Until it must be listening, the first time."""

    @property
    def serves_tls(self) -> bool:
        return self.tls is not Tls.NONE or self.certificate is not None


def joined(address: Address) -> str:
    """As URLs and Caddy write it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def dialable(address: Address) -> Address:
    """Where a client on this machine reaches what listens at ``address``."""
    host, port = address
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104 - asked, not bound
