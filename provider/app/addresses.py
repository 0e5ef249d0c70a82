"""host:port as people write it."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from provider.domain.errors import ConfigError


def split(text: str, setting: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` as its parts. ``ConfigError`` names the setting."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{setting}: {text!r} is not an address", remedy="write it like 0.0.0.0:8443")
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches it there. A name counts by what it resolves to, if it does."""
    try:
        found = {str(each[4][0]) for each in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return all(ip_address(each.partition("%")[0]).is_loopback for each in found)


def own_name() -> str:
    """This machine's name, for those who are not told another."""
    return socket.gethostname()
