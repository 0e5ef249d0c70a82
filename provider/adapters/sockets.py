"""The kernel's tables of open sockets (proc_net(5)): who listens where, without a packet sent.

Read by whoever needs them; owns nothing.
"""

from __future__ import annotations

from pathlib import Path

Listening = tuple[str, int]
"""Protocol in lower case, port."""

_TCP_LISTEN = "0A"
"""include/net/tcp_states.h; a bound UDP socket counts in whatever state."""
_LOOPBACK = ("0100007F", "00000000000000000000000001000000")
"""127.0.0.1 and ::1 as the tables write them."""


def listening(tables: Path = Path("/proc/net"), *, loopback: bool = False) -> frozenset[Listening]:
    """What is open to others, and with ``loopback`` also what is open to its own network namespace alone.

    ``OSError`` when the tables cannot be read.
    """
    found: set[Listening] = set()
    for proto in ("tcp", "udp"):
        for table in (proto, f"{proto}6"):
            try:
                lines = (tables / table).read_text().splitlines()[1:]
            except FileNotFoundError:
                if table.endswith("6"):
                    continue  # a kernel without IPv6
                raise
            for line in lines:
                _, local, _, state, *_ = line.split()
                address, _, port = local.partition(":")
                if (loopback or address not in _LOOPBACK) and (proto == "udp" or state == _TCP_LISTEN):
                    found.add((proto, int(port, 16)))
    return frozenset(found)
