"""Running the system's own programs for disks: ``fallocate``, ``mkfs.ext4``, ``mount``. Blocks.

Invariant: nothing of a tenant is ever an argument, apart from sizes; every run is bounded in time.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from provider.domain.errors import Temporary

NEEDED = ("fallocate", "mkfs.ext4", "e2fsck", "mount", "umount")
LIMIT_S = 300
"""``mkfs.ext4`` of 32 TiB takes seconds; a hanging disk takes for ever."""
_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
"""Not every service has these on its path."""


def missing() -> tuple[str, ...]:
    """Those of ``NEEDED`` that are not installed."""
    return tuple(name for name in NEEDED if shutil.which(name, path=_PATH) is None)


def run(doing: str, *command: str) -> None:
    """Run ``command`` to its end. ``Temporary`` with its own words when it fails."""
    status, told = attempt(doing, *command)
    if status != 0:
        remedy = "free some disk" if "No space left" in told else "dmesg may know more"
        raise Temporary(f"{doing}: {told or f'{command[0]} ended with status {status}'}", remedy=remedy)


def attempt(doing: str, *command: str) -> tuple[int, str]:
    """Its exit status and its last word."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": _PATH, "LC_ALL": "C"},
            timeout=LIMIT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise Temporary(
            f"{doing}: {command[0]} is not installed", remedy="apt-get install e2fsprogs mount util-linux"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Temporary(f"{doing}: {command[0]} did not end within {LIMIT_S} s") from error
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return done.returncode, lines[-1] if lines else ""
