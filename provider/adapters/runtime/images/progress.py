"""A pull's progress, layer by layer, out of the engine's messages. Pure.

The engine says of each layer ``Pulling fs layer``, ``Waiting``, ``Downloading``, ``Download complete``,
``Extracting``, ``Pull complete`` or ``Already exists``; sizes come with ``Downloading``, and small layers
have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provider.adapters.runtime.images.observer import PullPhase, PullProgress
from provider.domain.moment import SECOND, Instant

STEP_PERCENT = 5


@dataclass(slots=True)
class _Layer:
    total: int | None = None
    downloaded: int = 0
    extracted: int = 0
    is_here: bool = False
    """All of it was transferred."""


@dataclass(slots=True)
class Layers:
    """The layers of one pull."""

    digest: str = ""
    """Of the manifest, once the engine has said it."""
    _layers: dict[str, _Layer] = field(default_factory=dict)

    def take(self, message: Mapping[str, object]) -> None:
        """One message of the engine."""
        status, name, detail = (
            str(message.get("status", "")),
            message.get("id"),
            message.get("progressDetail"),
        )
        if status.startswith("Digest: "):
            self.digest = status.removeprefix("Digest: ")
        if not isinstance(name, str) or status.startswith(("Pulling from", "Already exists")):
            return
        layer = self._layers.setdefault(name, _Layer())
        current, total = _numbers(detail)
        if status == "Downloading":
            layer.downloaded = max(layer.downloaded, current)
            layer.total = max(total, layer.downloaded) or layer.total
        elif status in {"Verifying Checksum", "Download complete"}:
            layer.is_here = True
        elif status == "Extracting":
            layer.is_here = True
            layer.total = layer.total or total or None
            layer.extracted = max(layer.extracted, current)
        elif status == "Pull complete":
            layer.is_here = True
            layer.extracted = layer.total or layer.extracted

    @property
    def known_bytes(self) -> int:
        """The sizes that are known so far: at least that much will have been transferred."""
        return sum(layer.total or layer.downloaded for layer in self._layers.values())

    @property
    def missing_bytes(self) -> int:
        """Of what is known, not transferred yet."""
        return self.known_bytes - self.transferred_bytes

    @property
    def transferred_bytes(self) -> int:
        return sum(
            (layer.total or layer.downloaded) if layer.is_here else layer.downloaded
            for layer in self._layers.values()
        )

    def progress(self) -> PullProgress:
        layers = self._layers.values()
        complete = all(layer.is_here or layer.total is not None for layer in layers) and bool(layers)
        total = self.known_bytes if complete else None
        if layers and all(layer.is_here for layer in layers):
            extracted = sum(layer.extracted for layer in layers)
            return PullProgress(phase=PullPhase.EXTRACTING, done_bytes=extracted, total_bytes=total)
        return PullProgress(phase=PullPhase.DOWNLOADING, done_bytes=self.transferred_bytes, total_bytes=total)


@dataclass(slots=True)
class Pace:
    """Lets through what says something new: not twice a second, not for less than a twentieth."""

    _last: PullProgress | None = None
    _at: Instant = Instant(0)  # noqa: RUF009 - a number

    def lets(self, progress: PullProgress, at: Instant) -> bool:
        last = self._last
        if last is not None and (at - self._at < SECOND or not _is_news(last, progress)):
            return False
        self._last, self._at = progress, at
        return True


def _is_news(last: PullProgress, now: PullProgress) -> bool:
    if (last.phase, last.total_bytes is None) != (now.phase, now.total_bytes is None):
        return True
    grown = now.done_bytes - last.done_bytes
    return grown > 0 and (now.total_bytes is None or grown * 100 >= now.total_bytes * STEP_PERCENT)


def _numbers(detail: object) -> tuple[int, int]:
    """Current and total of a message; 0 where they are missing or no numbers."""
    if not isinstance(detail, Mapping):
        return 0, 0
    current, total = detail.get("current"), detail.get("total")
    return current if isinstance(current, int) else 0, total if isinstance(total, int) else 0
