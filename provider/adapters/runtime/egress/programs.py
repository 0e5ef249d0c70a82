"""Running ``nft``, ``tc`` and ``ip`` where the engine is, and what their failures mean, in one table.

Each is one transaction or can be done again: a caller that is cancelled leaves it to end by itself.
Sources of the meanings: each failure provoked on nftables 1.0.6 and iproute2 6.1 (Debian 12).
"""

from __future__ import annotations

import asyncio
import re
import subprocess

from provider.adapters.runtime.egress.place import Place
from provider.domain.errors import Temporary

TIMEOUT_S = 20
PACKAGES = {"nft": "nftables", "tc": "iproute2", "ip": "iproute2", "nsenter": "util-linux"}
OR_OFF = "or, where nobody else's machines can be reached, network.filter: off"

_MEANINGS = (
    (
        re.compile(r"operation not permitted|permission denied", re.IGNORECASE),
        f"run the agent as root; in a container with --cap-add NET_ADMIN; {OR_OFF}",
    ),
    (
        re.compile(r"not supported|no such file or directory|unknown qdisc|does not exist", re.IGNORECASE),
        f"use a kernel with nf_tables (5.10 or newer) and its modules; {OR_OFF}",
    ),
)


class Refused(Temporary):
    """The program ran and said no; ``what`` has its words."""


async def run(place: Place, argv: tuple[str, ...], text: str = "") -> str:
    """What it prints, given ``text`` as its input. ``Refused`` or ``Temporary``."""
    return await asyncio.to_thread(_run, place, argv, text)


def _run(place: Place, argv: tuple[str, ...], text: str) -> str:
    command = place.command(argv)
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        program = str(error.filename)
        raise Temporary(
            f"{program} is not installed",
            remedy=f"apt-get install {PACKAGES.get(program, program)}; {OR_OFF}",
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Temporary(f"{argv[0]} cannot be run: {error}", remedy="provider doctor") from error
    if done.returncode == 0:
        return done.stdout
    said = " ".join((done.stderr or done.stdout).split())[:300]
    # nsenter says so itself when the program that it was to run is missing.
    if "failed to execute" in said:
        raise Temporary(
            f"{argv[0]} is not installed", remedy=f"apt-get install {PACKAGES[argv[0]]}; {OR_OFF}"
        )
    remedy = next((told for pattern, told in _MEANINGS if pattern.search(said)), "provider doctor")
    raise Refused(f"{argv[0]}: {said or f'status {done.returncode}'}", remedy=remedy)
