"""Who is told how a pull goes.

Calls come from the event loop and must not block. Between ``began`` and ``done`` or ``failed`` of one
lease and image come any number of ``progressed``, at most one a second and only for a twentieth more.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from provider.domain.ids import LeaseId


class PullPhase(StrEnum):
    DOWNLOADING = "downloading"
    EXTRACTING = "extracting"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """How far a pull is."""

    phase: PullPhase
    done_bytes: int
    """Transferred while downloading, unpacked (of the same total) while extracting."""
    total_bytes: int | None
    """None as long as a layer's size is not known."""


class PullObserver(Protocol):
    """``lease`` is None for what the operator has pulled beforehand."""

    def began(self, lease: LeaseId | None, image: str) -> None: ...

    def progressed(self, lease: LeaseId | None, image: str, progress: PullProgress) -> None: ...

    def done(self, lease: LeaseId | None, image: str, took_s: float, transferred_bytes: int) -> None: ...

    def failed(self, lease: LeaseId | None, image: str, problem: str) -> None:
        """Also when it was called off."""


class Unobserved:
    """Tells nobody."""

    def began(self, lease: LeaseId | None, image: str) -> None:
        """Nothing."""

    def progressed(self, lease: LeaseId | None, image: str, progress: PullProgress) -> None:
        """Nothing."""

    def done(self, lease: LeaseId | None, image: str, took_s: float, transferred_bytes: int) -> None:
        """Nothing."""

    def failed(self, lease: LeaseId | None, image: str, problem: str) -> None:
        """Nothing."""
