"""The name servers that containers are given: the operator's, or those of the host.

The engine's own resolver in a container forwards from the container's network namespace, so a name server on
the host's loopback is of no use there, and one on its network needs a hole of its own in the rules.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path

FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The first that names a usable one counts: systemd-resolved has its own loopback address in the first, the
real ones in the second (systemd-resolved(8))."""
MOST = 3
"""MAXNS of resolv.conf(5)."""


def of_host(files: Iterable[Path] = FILES) -> tuple[ipaddress.IPv4Address, ...]:
    """Empty when there is none that a container reaches: the engine then chooses, as it always did."""
    for file in files:
        try:
            found = tuple(_usable(file.read_text(errors="replace")))
        except OSError:
            continue
        if found:
            return found[:MOST]
    return ()


def _usable(text: str) -> Iterable[ipaddress.IPv4Address]:
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                address = ipaddress.IPv4Address(words[1])
            except ValueError:
                continue  # IPv6, which leases do not have
            if not address.is_loopback and not address.is_unspecified:
                yield address
