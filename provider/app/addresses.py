"""host:port as people write it."""

from __future__ import annotations

import socket

from provider.domain.errors import ConfigError


def split(text: str, setting: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` as its parts. ``ConfigError`` names the setting."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{setting}: {text!r} is not an address", remedy="write it like 0.0.0.0:8443")
    return host, int(port)


def own_name() -> str:
    """This machine's name, for those who are not told another."""
    return socket.gethostname()
