"""The kernel's figures of one container, file by file, in both versions' spellings.

Sources: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of Linux, proc_pid_net(5). Invariant: a file
that is not there, or says something else, is a figure that is absent. Costs: one container is nine small
files, about 0.1 ms.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from provider.adapters.usage.places import Place
from provider.domain.usage import ContainerReading, UsageCounter

UNLIMITED = 2**62
"""Version 1 writes "no limit" as the largest number of pages that there is."""
_CHUNK = 65_536
_WHOLE = 2048
"""The kernel hands such files out by the page; one that gave less than half of it has no more to give."""


def read(path: str) -> bytes | None:
    """All of a small file; None where it is not there (any more) or may not be read."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = piece = os.read(file, _CHUNK)
        while len(piece) >= _WHOLE:
            piece = os.read(file, _CHUNK)
            text += piece
    except OSError:  # the group went while it was open
        return None
    finally:
        os.close(file)
    return text


def reading(place: Place, process: str, limit_bytes: int | None) -> ContainerReading | None:
    """All but ``block_io``. ``process`` is the first process's folder in ``/proc``, ``limit_bytes`` the
    ``memory_limit``. None where either is gone: a container that was started again may have the groups'
    names, and somebody else the process's number."""
    interfaces = read(f"{process}/net/dev")
    if interfaces is None and not Path(process).exists():
        return None
    used, throttled = _cpu(place)
    memory, kills = _memory(place)
    if used is None and memory is None:
        return None
    received, sent = network(interfaces)
    counters = (
        (UsageCounter.CPU_US, used),
        (UsageCounter.THROTTLED_US, throttled),
        (UsageCounter.OOM_KILLS, kills),
        (UsageCounter.RECEIVED_BYTES, received),
        (UsageCounter.SENT_BYTES, sent),
    )
    return ContainerReading(
        counters={name: figure for name, figure in counters if figure is not None},
        memory_bytes=memory,
        memory_limit_bytes=limit_bytes,
    )


def _cpu(place: Place) -> tuple[int | None, int | None]:
    accounts, quota = place.separate.get("cpuacct"), place.separate.get("cpu")
    if accounts is None and quota is None and place.unified is not None:
        text = read(f"{place.unified}/cpu.stat")
        return field(text, b"usage_usec"), field(text, b"throttled_usec")
    used = number(read(f"{accounts}/cpuacct.usage")) if accounts else None
    throttled = field(read(f"{quota}/cpu.stat"), b"throttled_time") if quota else None
    return _micros(used), _micros(throttled)


def _micros(nanoseconds: int | None) -> int | None:
    return None if nanoseconds is None else nanoseconds // 1000


def memory_limit(place: Place) -> int | None:
    """None where there is none."""
    folder = place.separate.get("memory")
    path = f"{folder}/memory.limit_in_bytes" if folder else f"{place.unified}/memory.max"
    limit = number(read(path))
    return None if limit is None or limit >= UNLIMITED else limit


def _memory(place: Place) -> tuple[int | None, int | None]:
    """Working set, and processes ended for want of memory."""
    folder = place.separate.get("memory")
    if folder is not None:
        used = number(read(f"{folder}/memory.usage_in_bytes"))
        spare = field(read(f"{folder}/memory.stat"), b"total_inactive_file")
        kills = field(read(f"{folder}/memory.oom_control"), b"oom_kill")
    elif place.unified is not None:
        used = number(read(f"{place.unified}/memory.current"))
        spare = field(read(f"{place.unified}/memory.stat"), b"inactive_file")
        kills = field(read(f"{place.unified}/memory.events"), b"oom_kill")
    else:
        return None, None
    return None if used is None else max(used - (spare or 0), 0), kills


def block_io(place: Place, stacked: Callable[[Iterable[str]], frozenset[str]]) -> tuple[int, int] | None:
    """Bytes read and written; ``stacked`` tells which of some block devices are made of others among them.
    None where it is not counted: version 1 without any device may not be counting, see ``process_io``."""
    folder = place.separate.get("blkio")
    if folder is not None:
        name = "blkio.throttle.io_service_bytes"
        devices = _io_v1(read(f"{folder}/{name}_recursive") or read(f"{folder}/{name}"))
        if not devices:
            return None
    elif place.unified is not None:
        text = read(f"{place.unified}/io.stat")
        if text is None:
            return None
        devices = _io_v2(text)
    else:
        return None
    doubled = stacked(devices) if len(devices) > 1 else frozenset()
    figures = [figure for device, figure in devices.items() if device not in doubled]
    return sum(read for read, _ in figures), sum(written for _, written in figures)


def _io_v1(text: bytes | None) -> dict[str, tuple[int, int]]:
    """``8:0 Read 4096`` and so on; the last line, ``Total 0``, has two words."""
    devices: dict[str, tuple[int, int]] = {}
    for line in (text or b"").splitlines():
        words = line.split()
        if len(words) == 3 and words[2].isdigit():
            device, amount = words[0].decode("ascii", "replace"), int(words[2])
            before = devices.get(device, (0, 0))
            if words[1] == b"Read":
                devices[device] = before[0] + amount, before[1]
            elif words[1] == b"Write":
                devices[device] = before[0], before[1] + amount
    return devices


def _io_v2(text: bytes | None) -> dict[str, tuple[int, int]]:
    """``8:0 rbytes=4096 wbytes=0 rios=1 ...``."""
    devices: dict[str, tuple[int, int]] = {}
    for line in (text or b"").splitlines():
        device, _, pairs = line.partition(b" ")
        told = dict(pair.split(b"=", 1) for pair in pairs.split() if b"=" in pair)
        amounts = [int(told.get(name, b"0")) for name in (b"rbytes", b"wbytes") if _is_number(told.get(name))]
        if len(amounts) == 2:
            devices[device.decode("ascii", "replace")] = amounts[0], amounts[1]
    return devices


def _is_number(text: bytes | None) -> bool:
    return text is not None and text.isdigit()


def network(text: bytes | None) -> tuple[int | None, int | None]:
    """Received and sent, over all interfaces but loopback: columns 1 and 9 of ``net/dev``."""
    if text is None:
        return None, None
    received = sent = 0
    for line in text.splitlines():
        name, colon, rest = line.partition(b":")
        columns = rest.split()
        if colon and name.strip() != b"lo" and len(columns) >= 9 and columns[0].isdigit():
            received, sent = received + int(columns[0]), sent + int(columns[8])
    return received, sent


def number(text: bytes | None) -> int | None:
    """A file that is one number; ``max`` is none."""
    word = (text or b"").strip()
    return int(word) if word.isdigit() else None


def field(text: bytes | None, name: bytes) -> int | None:
    """The number after ``name`` at the beginning of a line."""
    _, found, rest = (b"\n" + (text or b"")).partition(b"\n" + name + b" ")
    return number(rest.partition(b"\n")[0]) if found else None
