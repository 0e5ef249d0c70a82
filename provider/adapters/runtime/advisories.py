"""Versions of the engine and its parts that strangers must not be let onto: the table, and comparing with it.

What is known of each hole is its first version without it, one for each series that got a mend. A version
is taken at its word: what a distribution has mended under an old number is not seen, and is the operator's to
allow. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

Version = tuple[int, int, int, int]
"""Major, minor, patch; then 0 for a version before it (``-rc.1``), 1 for itself."""


class Part(StrEnum):
    """What may be too old. The words of ``runtime.allow_unsafe``."""

    ENGINE = "engine"
    RUNC = "runc"
    TOOLKIT = "toolkit"
    """NVIDIA's container toolkit: its hooks run as root beside the tenant's files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """A hole through which a container, or its image, gets at the host."""

    part: Part
    name: str
    mended: tuple[str, ...]
    """First version without it in each series that has one, ascending; newer ones than the last are safe."""
    what: str
    source: str


ADVISORIES = (
    Advisory(
        part=Part.ENGINE,
        name="CVE-2026-17106",
        mended=("29.7.0",),
        what="unpacking an archive (tenant cp, an image's layer) writes outside of its place",
        source="cve.org, Docker's record: Docker Engine before 29.7.0",
    ),
    Advisory(
        part=Part.ENGINE,
        name="CVE-2026-41567",
        mended=("29.5.1",),
        what="copying into a container runs a program of the container as root of the host",
        source="github.com/moby/moby GHSA-x86f-5xw2-fm2r",
    ),
    Advisory(
        part=Part.ENGINE,
        name="CVE-2026-42306",
        mended=("29.5.1",),
        what="a race while copying redirects a mount to any path of the host",
        source="github.com/moby/moby GHSA-rg2x-37c3-w2rh",
    ),
    Advisory(
        part=Part.RUNC,
        name="CVE-2024-21626",
        mended=("1.1.12",),
        what="a leaked descriptor gives a container the host's file system",
        source="github.com/opencontainers/runc GHSA-xr7r-f8xq-vfvv",
    ),
    Advisory(
        part=Part.RUNC,
        name="CVE-2025-31133, CVE-2025-52565, CVE-2025-52881",
        mended=("1.2.8", "1.3.3", "1.4.0"),
        what="races over masked paths, /dev/console and /proc writes lead out of the container",
        source="github.com/opencontainers/runc, releases 1.2.8, 1.3.3 and 1.4.0-rc.3",
    ),
    Advisory(
        part=Part.TOOLKIT,
        name="CVE-2024-0132",
        mended=("1.16.2",),
        what="a crafted image gets the host's file system mounted",
        source="NVIDIA security bulletin, September 2024",
    ),
    Advisory(
        part=Part.TOOLKIT,
        name="CVE-2025-23359",
        mended=("1.17.4",),
        what="a way around the mend of CVE-2024-0132",
        source="NVIDIA security bulletin, February 2025",
    ),
    Advisory(
        part=Part.TOOLKIT,
        name="CVE-2025-23266",
        mended=("1.17.8",),
        what="LD_PRELOAD of an image reaches a hook that runs as root",
        source="NVIDIA security bulletin, July 2025",
    ),
    Advisory(
        part=Part.TOOLKIT,
        name="CVE-2026-24260",
        mended=("1.19.1",),
        what="a race in its hooks; that 1.19.1 mends it is read from its commits",
        source="NVIDIA security bulletin, July 2026",
    ),
)
"""Of those known in November 2026, the ones that a tenant of ours can reach."""

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")
_BEFORE = re.compile(r"[-~.]?(rc|alpha|beta|dev)")


def parse(text: str) -> Version | None:
    """The version that ``text`` begins with (``20.10.24+dfsg1``); None when it does not begin with one."""
    match = _VERSION.match(text.strip())
    if match is None:
        return None
    is_before = _BEFORE.match(text.strip()[match.end() :]) is not None
    major, minor, patch = (int(each or 0) for each in match.groups())
    return major, minor, patch, 0 if is_before else 1


def holes(part: Part, version: str) -> tuple[Advisory, ...]:
    """The advisories that ``version`` falls under; all of the part's when it is no version."""
    parsed = parse(version)
    return tuple(
        each for each in ADVISORIES if each.part is part and (parsed is None or not _is_mended(each, parsed))
    )


def safe_versions(found: tuple[Advisory, ...]) -> str:
    """The versions from which on none of ``found`` is left, for people: ``1.2.8, 1.3.3, 1.4.0``."""
    newest = max(found, key=lambda each: _floor(each.mended[-1]))
    return ", ".join(newest.mended)


def _is_mended(hole: Advisory, version: Version) -> bool:
    floors = [_floor(each) for each in hole.mended]
    return version >= floors[-1] or any(version[:2] == floor[:2] and version >= floor for floor in floors)


def _floor(text: str) -> Version:
    parsed = parse(text)
    assert parsed is not None, "the table holds versions"
    return parsed
