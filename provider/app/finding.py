"""One check of the doctor's, and what it found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check. ``is_fatal``: the daemon cannot do its work like this."""

    check: str
    is_well: bool
    found: str
    remedy: str = ""
    is_fatal: bool = False
