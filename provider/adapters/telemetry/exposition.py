"""An exposition at a time, reused for a second.

Owns when the feed is looked at and who pays for a scrape: however many scrape, and however often, the daemon
looks and renders at most once a second. It does so on the event loop: a hundred leases take less time than
the 5 ms for which a thread would have to wait for the interpreter's lock, and then the loop for the thread.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from prometheus_client.exposition import choose_encoder

from provider.adapters.telemetry.renderer import Encode
from provider.adapters.telemetry.view import Feed, Snapshot, look

CACHE_S = 1.0
GZIP_LEVEL = 1
"""Level 9, the library's own, costs ten times as much for a tenth of the bytes."""

GZIP_FORMAT = 16 + zlib.MAX_WBITS
"""As zlib calls gzip's head and foot, with the largest window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A rendered exposition."""

    content_type: str
    body: bytes
    is_gzipped: bool


def packed(pieces: Iterable[bytes]) -> bytes:
    """As gzip has them, never whole in memory: pages that come and go cost as much as the packing."""
    packer = zlib.compressobj(GZIP_LEVEL, wbits=GZIP_FORMAT)
    return b"".join([*map(packer.compress, pieces), packer.flush()])


class Shown(Protocol):
    """What can be rendered: ``Metrics``, or the same cards under other names."""

    def show(self, snapshot: Snapshot) -> None: ...

    def render(self, encode: Encode, content_type: str) -> list[bytes]: ...

    def rendered(self, seconds: float) -> None: ...


class Exposition:
    """Renders ``metrics`` and the state behind ``feed``."""

    def __init__(self, metrics: Shown, feed: Feed, *, cache_s: float = CACHE_S) -> None:
        self._metrics = metrics
        self._feed = feed
        self._cache_s = cache_s
        self._cache: dict[tuple[str, bool], Page] = {}
        self._looked_at = float("-inf")
        self.look()

    def look(self) -> None:
        """Take a fresh snapshot: at a scrape, and once at the start, so that revenue has a beginning."""
        self._metrics.show(look(self._feed))

    def page(self, accept: str, *, gzipped: bool) -> Page:
        """The exposition in the format that ``accept`` asks for, at most ``cache_s`` old."""
        encode, content_type = choose_encoder(accept)
        now = perf_counter()
        if now - self._looked_at >= self._cache_s:
            self._cache.clear()
            self.look()
            self._looked_at = now
        page = self._cache.get((content_type, gzipped))
        if page is None:
            pieces = self._metrics.render(encode, content_type)
            body = packed(pieces) if gzipped else b"".join(pieces)
            self._metrics.rendered(perf_counter() - now)
            page = Page(content_type=content_type, body=body, is_gzipped=gzipped)
            self._cache[content_type, gzipped] = page
        return page
