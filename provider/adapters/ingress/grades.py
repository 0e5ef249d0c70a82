"""A manifest's ``http_options`` as the grades that a configuration which never changes can hold. Pure.

Caddy takes limits only from its configuration. So that holds one way for each grade, and a service gets the
first grade that is not stricter than what it asked for. What is not here (``next_timeout``, ``next_cases``
that are statuses, ``proxy_buffer_size``) has no counterpart in Caddy 2.6, and is not honoured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from provider.domain.manifest import HttpOptions
from provider.domain.resources import MIB

BODY_BYTES = tuple(number * MIB for number in (1, 2, 4, 8, 16, 32, 64, 100))
"""For bodies that do not say how long they are; the others are held to the exact limit by ``lookup``."""
READ_MS = (1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000)
"""From the whole request sent to the first byte of an answer. Akash allows at most 60 s."""
SEND_MS = (5_000, 20_000, 60_000)
"""For one write to the service."""
TRIES = (1, 2, 3)
RETRIED = frozenset({"error", "timeout"})
"""Of ``next_cases``: the ones in which another replica is tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grades:
    """One of each list above."""

    body_bytes: int
    read_ms: int
    send_ms: int
    tries: int


def grades(options: HttpOptions, replicas: int) -> Grades:
    """Those of a service that has ``replicas`` to go to."""
    tries = min(options.next_tries, replicas) if RETRIED & set(options.next_cases) else 1
    return Grades(
        body_bytes=_at_least(BODY_BYTES, options.max_body_bytes),
        read_ms=_at_least(READ_MS, options.read_timeout_ms),
        send_ms=_at_least(SEND_MS, options.send_timeout_ms),
        tries=max(TRIES[0], min(tries, TRIES[-1])),
    )


def _at_least(grades: Sequence[int], wanted: int) -> int:
    return next((each for each in grades if each >= wanted), grades[-1])
