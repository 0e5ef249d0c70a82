"""Which images tenants may name. Pure, but for the one question to the resolver.

The engine pulls from the host's own network, so a tenant's image name is an address that the host will
connect to: registries at addresses that the world cannot reach are refused unless the operator named them.

What it cannot hold: a name that the engine resolves to something else a moment later, and where a registry
that is allowed sends the engine on to. Whoever fears those lists registries in ``allow``.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from fnmatch import fnmatchcase

from provider.adapters.runtime.images.reference import DEFAULT_REGISTRY, Reference
from provider.adapters.runtime.images.settings import ImageSettings
from provider.domain.errors import ImageUnavailable, Temporary

Resolve = Callable[[str], Awaitable[tuple[str, ...]]]
"""The addresses of a host's name; ``OSError`` when it has none."""
RESOLVE_S = 10
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")


def matches(patterns: Iterable[str], reference: Reference) -> bool:
    """A pattern without ``/`` is of registries (``ghcr.io``, ``*.example``), with one of repositories."""
    return any(
        fnmatchcase(reference.repository, _full(each))
        if "/" in each
        else fnmatchcase(reference.registry, each)
        for each in patterns
    )


def _full(pattern: str) -> str:
    """``library/*`` is the default registry's, as in an image's name."""
    first = pattern.partition("/")[0]
    is_host = any(mark in first for mark in ".:*?[") or first == "localhost"
    return pattern if is_host else f"{DEFAULT_REGISTRY}/{pattern}"


def check_lists(settings: ImageSettings, reference: Reference) -> None:
    """``ImageUnavailable`` where the operator's lists do not let tenants use it."""
    if matches(settings.deny, reference):
        raise ImageUnavailable(
            f"{reference.repository} is on this provider's list of denied images",
            remedy="use another image, or another provider",
        )
    if settings.allow and not matches(settings.allow, reference):
        raise ImageUnavailable(
            f"{reference.repository} is not on this provider's list of allowed images",
            remedy=f"use an image of {', '.join(settings.allow)}",
        )


async def check_address(
    settings: ImageSettings, reference: Reference, *, resolve: Resolve, by_proxy: bool = False
) -> None:
    """``ImageUnavailable`` where the registry is at an address that is not the world's.

    ``by_proxy``: the engine asks a proxy to connect, so a name that is not known here is no obstacle.
    """
    registry = reference.registry
    if registry == DEFAULT_REGISTRY or any(
        fnmatchcase(registry, each) for each in settings.private_registries
    ):
        return
    host = registry.partition(":")[0]
    try:
        async with asyncio.timeout(RESOLVE_S):
            addresses = await resolve(host)
    except (OSError, TimeoutError, UnicodeError) as error:
        if by_proxy and not _is_literal(host):
            return
        raise Temporary(
            f"the registry {registry} cannot be found: {str(error) or 'no answer in time'}",
            remedy="check the registry's name",
        ) from error
    for address in addresses:
        if not is_public(address):
            raise ImageUnavailable(
                f"the registry {registry} is at {address}, which is not a public address",
                remedy="use a public registry; the operator can name this one in images.private_registries",
            )


def is_public(address: str) -> bool:
    """Whether the world can reach it: not private, shared, link-local, loopback, multicast or reserved."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped
        if inner is None and parsed in _NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
        if inner is None and parsed in _SIX_TO_FOUR:
            inner = parsed.sixtofour
        if inner is not None:
            return is_public(str(inner))
    return parsed.is_global and not parsed.is_multicast


async def resolve_here(host: str) -> tuple[str, ...]:
    """By the machine's resolver, which also reads ``127.1`` and ``0x7f000001`` as the engine's may."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(str(address[0]) for *_, address in found)


def _is_literal(host: str) -> bool:
    """Written as numbers: never a proxy's to resolve."""
    return all(part[:1].isdigit() or not part for part in host.split("."))
