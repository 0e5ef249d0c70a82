"""How long to wait before trying again: full jitter, so that many who fail together do not come back so."""

from __future__ import annotations

from random import Random

from provider.domain.moment import Span

FIRST = Span(500)
MOST = Span(60_000)


def wait(attempt: int, random: Random) -> Span:
    """After failure ``attempt`` (from 0): between nothing and 0.5, 1, 2 … 60 s, all equally likely."""
    return Span(random.randint(0, min(FIRST * 2 ** min(attempt, 20), MOST)))
