"""The limit of what comes to a lease: a token bucket on its bridge (tc-tbf(8)), gone with the bridge.

What leaves the host by the bridge is the lease's download, from the internet and from the host's own proxy
alike, and waits there for its turn. Frames between containers of one lease only cross the bridge and pass no
queue. The other direction is held by the rules (``ruleset``): what a bridge receives could only be queued
behind a detour (``ifb``) on which a kernel that shows bridged packets to the firewall (br_netfilter) forgets
their connection, and with it the translation of their addresses (seen on 6.18).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from provider.adapters.runtime.egress import programs
from provider.adapters.runtime.egress.place import Place
from provider.adapters.runtime.egress.settings import BYTES, NetworkSettings

BURST_BYTES = 65_536
"""At least one segment of the largest size that the kernel hands down in one piece."""
LATENCY_MS = 50
"""What would wait longer is dropped, which is how the sender learns the rate."""


async def settle(place: Place, bridges: Iterable[str], settings: NetworkSettings) -> None:
    """Have the limits of ``bridges``, those of them that exist, be as ``settings`` says."""
    there, wanted = await _there(place), settings.download_mbit * BYTES
    differing = [
        each for each in sorted(place.interfaces().intersection(bridges)) if there.get(each, 0) != wanted
    ]
    if differing:
        await programs.run(place, ("tc", "-batch", "-"), "".join(_line(each, wanted) for each in differing))


async def _there(place: Place) -> Mapping[str, int]:
    """Bytes a second by device; what is not told in JSON counts as another limit than the one wanted."""
    listed = json.loads(await programs.run(place, ("tc", "-j", "qdisc", "show")) or "[]")
    return {
        str(told["dev"]): int(told.get("options", {}).get("rate", -1))
        for told in listed
        if told.get("kind") == "tbf" and told.get("root")
    }


def _line(bridge: str, rate: int) -> str:
    """What ``tc`` is told; fine when it was done before."""
    if not rate:
        return f"qdisc delete dev {bridge} root\n"
    burst = max(BURST_BYTES, rate // 100)
    return f"qdisc replace dev {bridge} root tbf rate {rate * 8}bit burst {burst} latency {LATENCY_MS}ms\n"
