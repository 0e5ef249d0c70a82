"""Bandwidth limits of leases: a token bucket on the bridge, and one behind it for the other direction.

What leaves the host by the bridge is the lease's download and is held there; what comes in by it is its
upload, and is led over an intermediate device (``ifb``) of its own, since nothing can be held where it
arrives. Frames between containers of one lease only cross the bridge and pass neither.

Invariant: a device of ours exists only beside its bridge; the bridge's own queues go with the bridge.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from provider.adapters.runtime.egress import programs
from provider.adapters.runtime.egress.place import Place
from provider.adapters.runtime.egress.settings import NetworkSettings

BYTES = 125_000
"""A second, in one Mbit/s."""
BURST_BYTES = 65_536
"""At least one segment of the largest size that the kernel hands down in one piece."""
LATENCY_MS = 50
"""What would wait longer is dropped, which is how the sender learns the rate."""
_BRIDGE, _DEVICE = "gp-", "gi-"

Rates = Mapping[str, int]
"""Bytes a second by device; of bridges and of intermediate devices."""


def device(bridge: str) -> str:
    """The intermediate device of a bridge."""
    return _DEVICE + bridge.removeprefix(_BRIDGE)


def wanted(bridges: Iterable[str], settings: NetworkSettings) -> Rates:
    """The limits that there should be."""
    rates = {}
    for bridge in bridges:
        if settings.download_mbit:
            rates[bridge] = settings.download_mbit * BYTES
        if settings.upload_mbit:
            rates[device(bridge)] = settings.upload_mbit * BYTES
    return rates


async def settle(place: Place, bridges: Iterable[str], settings: NetworkSettings) -> None:
    """Have the limits of ``bridges``, those of them that exist, be as ``settings`` says."""
    links = place.interfaces()
    here = sorted(links.intersection(bridges))
    want, there = wanted(here, settings), await _there(place)
    differing = [each for each in here if _of(each, want) != _of(each, there)]
    if differing:
        missing = [device(each) for each in differing if device(each) in want and device(each) not in links]
        made = "".join(f"link add {each} type ifb\nlink set {each} up\n" for each in missing)
        if made:
            await programs.run(place, ("ip", "-batch", "-"), made)
        await programs.run(place, ("tc", "-batch", "-"), "".join(_lines(differing, want, there)))
    await remove_orphans(place)


async def remove_orphans(place: Place) -> None:
    """Remove intermediate devices whose bridge is gone, whoever left them."""
    links = place.interfaces()
    left = [
        each
        for each in sorted(links)
        if each.startswith(_DEVICE) and _BRIDGE + each.removeprefix(_DEVICE) not in links
    ]
    for each in left:
        await programs.run(place, ("ip", "-force", "-batch", "-"), f"link delete {each}\n")


async def _there(place: Place) -> Rates:
    """The limits that the kernel has (tc-tbf(8) in JSON); what cannot be read counts as none."""
    rates = {}
    for told in json.loads(await programs.run(place, ("tc", "-j", "qdisc", "show")) or "[]"):
        if told.get("kind") == "tbf" and told.get("root"):
            rates[str(told["dev"])] = int(told.get("options", {}).get("rate", 0))
    return rates


def _of(bridge: str, rates: Rates) -> tuple[int, int]:
    return rates.get(bridge, 0), rates.get(device(bridge), 0)


def _lines(bridges: Iterable[str], want: Rates, there: Rates) -> Iterable[str]:
    """What ``tc`` is told; each line is fine when it was done before."""
    for bridge in bridges:
        middle = device(bridge)
        for each in (bridge, middle):
            if each in want:
                burst = max(BURST_BYTES, want[each] // 100)
                rate = f"rate {want[each] * 8}bit burst {burst} latency {LATENCY_MS}ms"
                yield f"qdisc replace dev {each} root tbf {rate}\n"
            elif each in there:
                yield f"qdisc delete dev {each} root\n"
        if middle in want:
            yield f"qdisc replace dev {bridge} ingress\n"
            yield (
                f"filter replace dev {bridge} parent ffff: protocol all prio 1 handle 800::1 "
                f"u32 match u32 0 0 action mirred egress redirect dev {middle}\n"
            )
        elif middle in there:
            yield f"qdisc delete dev {bridge} ingress\n"
