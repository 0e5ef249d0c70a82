"""Where the engine's bridges are: its network namespace, seen through its process.

Rules are put where the engine is, not where the agent happens to run, and nowhere while it is away. The
process is the one behind the engine's socket; where it cannot be seen (another PID namespace) the agent's own
namespace is taken, and whether the bridges are there is looked at before anything starts.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from provider.adapters.runtime.egress.ruleset import BARRED
from provider.adapters.runtime.host import engine_pid
from provider.domain.errors import Temporary

PREFIX_SHORTEST = 8
"""A shorter route on a link is a tunnel's way to everywhere (0.0.0.0/1), not a neighbourhood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A network namespace, by a process in it."""

    process: Path = Path("/proc/self")
    is_ours: bool = True
    """Whether the agent is in it too."""

    def command(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """``argv`` as it is run in there."""
        return argv if self.is_ours else ("nsenter", f"--net={self.process}/ns/net", "--", *argv)

    def interfaces(self) -> frozenset[str]:
        """Names of all links (proc_pid_net(5), ``dev``: two lines of heading)."""
        lines = self._read("dev").splitlines()[2:]
        return frozenset(line.partition(":")[0].strip() for line in lines)

    def neighbours(self) -> tuple[ipaddress.IPv4Network, ...]:
        """Networks without a gateway between, other than ``BARRED`` ones and leases' own; sorted."""
        found = set(_on_link(self._read("route")))
        return tuple(sorted(each for each in found if not any(each.subnet_of(other) for other in BARRED)))

    def _read(self, name: str) -> str:
        try:
            return (self.process / "net" / name).read_text()
        except OSError as error:
            raise Temporary(
                f"the engine's network cannot be looked at: {error.strerror}",
                remedy="run the agent as root; in a container with --network host --pid host",
            ) from error


def find(socket_path: str) -> Place:
    """The namespace of the engine behind ``socket_path``; ``Temporary`` while nobody is there.

    May block for as long as connecting to it does.
    """
    pid = engine_pid(socket_path)
    if pid == 0:
        return Place()
    process = Path(f"/proc/{pid}")
    try:
        theirs, ours = (process / "ns" / "net").stat(), Path("/proc/self/ns/net").stat()
    except FileNotFoundError as gone:
        raise Temporary("the engine is away", remedy="docker info") from gone
    except OSError:
        return Place()
    return Place(process=process, is_ours=theirs.st_ino == ours.st_ino)


def _on_link(table: str) -> Iterator[ipaddress.IPv4Network]:
    """From ``/proc/net/route``: interface, destination, gateway, ..., mask as the eighth; hexadecimal numbers
    in the machine's byte order."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8 or int(fields[2], 16) or fields[0].startswith("gp-"):
            continue
        address, mask = (ipaddress.IPv4Address(struct.pack("=I", int(fields[at], 16))) for at in (1, 7))
        network = ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
        if network.prefixlen >= PREFIX_SHORTEST:
            yield network
