"""Whether a container does what it is for: it listens on the ports that it exposes.

Read from the kernel's own tables of the container's network namespace (proc_pid_net(5)), so that no packet is
sent and nothing in the image is needed. Where the process cannot be seen, from another PID namespace, a
container that runs counts as ready: blindness is not death.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from provider.adapters.sockets import Listening, listening
from provider.domain.manifest import Service


def exposed(service: Service) -> tuple[Listening, ...]:
    """The ports that others are to reach, sorted."""
    return tuple(sorted({(expose.proto.lower(), expose.port) for expose in service.expose}))


def as_label(ports: Iterable[Listening]) -> str:
    """``80/tcp,53/udp``: kept on the container, since after a restart nobody else knows."""
    return ",".join(f"{port}/{proto}" for proto, port in ports)


def from_label(text: str) -> tuple[Listening, ...]:
    """What ``as_label`` wrote; what cannot be read is left out."""
    pairs = (each.partition("/") for each in text.split(",") if each)
    return tuple((proto, int(port)) for port, _, proto in pairs if port.isascii() and port.isdigit())


def missing(pid: int, ports: Iterable[Listening]) -> tuple[Listening, ...]:
    """Those of ``ports`` on which nothing listens in the network namespace of ``pid``."""
    wanted = tuple(ports)
    if not wanted or pid <= 0:
        return ()
    try:
        found = listening(Path(f"/proc/{pid}/net"))
    except OSError:
        return ()
    return tuple(each for each in wanted if each not in found)
