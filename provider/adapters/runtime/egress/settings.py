"""What an operator decides about leases' way out. Values only, checked when they are made."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Self

from provider.domain.errors import ConfigError

PORT_MAX = 65_535
MBIT_MAX = 1_000_000
BYTES = 125_000
"""A second, in one Mbit/s."""
_FORM = "write it like 10.1.2.0/24, 10.1.2.3:443 or 10.1.2.0/24:80,8000-8100"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Destination:
    """Addresses, and ports of TCP and UDP on them; no ports means everything on them."""

    network: ipaddress.IPv4Network
    ports: tuple[tuple[int, int], ...] = ()
    """First and last of each range, both included."""

    @classmethod
    def parse(cls, text: str, setting: str) -> Self:
        """From ``10.1.2.0/24:80,8000-8100``; ``ConfigError`` names ``setting``."""
        network, colon, ports = text.strip().partition(":")
        if ":" in ports:
            raise ConfigError(
                f"{setting}: {text!r} is IPv6, which leases do not have", remedy=f"leave it out; {_FORM}"
            )
        try:
            return cls(
                network=ipaddress.IPv4Network(network),
                ports=tuple(_range(each) for each in ports.split(",")) if colon else (),
            )
        except ValueError as error:
            raise ConfigError(f"{setting}: {text!r} is no destination: {error}", remedy=_FORM) from error


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.strip().partition("-")
    pair = int(first), int(last if dash else first)
    if not 1 <= pair[0] <= pair[1] <= PORT_MAX:
        raise ValueError(f"{text!r} is no port or range of ports")
    return pair


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """The same for every lease of a provider."""

    filters: bool = True
    """Whether leases are kept from the host, its networks and each other."""
    allow: tuple[Destination, ...] = ()
    """Reached although they are barred; never the host itself, nor other leases."""
    deny: tuple[Destination, ...] = ()
    """Not reached although they are the internet's; goes over ``allow``."""
    dns: tuple[ipaddress.IPv4Address, ...] = ()
    """Resolvers of the containers; none: the host's own. Reached on port 53 wherever they are."""
    smtp: bool = False
    """Whether port 25 of the internet is reached; submission (465, 587) always is."""
    download_mbit: int = 0
    """Towards a lease, 10^6 bit a second; 0 for no limit. Between its own containers there never is one."""
    upload_mbit: int = 0
    connections_most: int = 4096
    """Tracked connections of a lease at once, both ways; 0 for no limit."""

    def __post_init__(self) -> None:
        for rate in (self.download_mbit, self.upload_mbit):
            if not 0 <= rate <= MBIT_MAX:
                raise ConfigError(
                    f"network: {rate} Mbit/s is no rate", remedy=f"0 for no limit, at most {MBIT_MAX}"
                )
        if self.upload_mbit and not self.filters:
            raise ConfigError(
                "network.upload_mbit is held by the filter, which is off", remedy="network.filter: on"
            )
        for resolver in self.dns:
            if resolver.is_loopback or resolver.is_unspecified or resolver.is_multicast:
                raise ConfigError(
                    f"network.dns: {resolver} is not reached from a container",
                    remedy="name an address of the network, or leave network.dns out",
                )


def resolver(text: str) -> ipaddress.IPv4Address:
    """An entry of ``network.dns``; ``ConfigError`` where it is none."""
    try:
        return ipaddress.IPv4Address(text.strip())
    except ValueError as error:
        raise ConfigError(
            f"network.dns: {text!r} is no IPv4 address", remedy="network.dns: [9.9.9.9]"
        ) from error
