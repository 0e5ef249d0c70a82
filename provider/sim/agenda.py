"""What is to happen in a simulated world, and when: a heap of (instant, tie, act), and a trace of what did.

Invariant: everything follows from the seed. Of things due at one instant the tie decides, drawn by chance, so
that other seeds try other orders; what must keep an order is scheduled at different instants.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from random import Random

from provider.domain.moment import Instant
from provider.sim.clock import EPOCH

Act = Callable[[], None]


class Agenda:
    """The world's only time and only chance."""

    def __init__(self, seed: int) -> None:
        self.at = EPOCH
        self.random = Random(seed)  # noqa: S311 -- chance that can be repeated is the point
        self.turns = 0
        """Acts so far."""
        self._heap: list[tuple[Instant, float, int, str, Act]] = []
        self._count = 0
        self._trace = hashlib.sha256()

    def later(self, span: int, label: str, act: Act) -> None:
        """``act`` happens ``span`` milliseconds from now; ``label`` is what the trace says of it."""
        self._count += 1
        due = Instant(self.at + max(span, 0))
        heapq.heappush(self._heap, (due, self.random.random(), self._count, label, act))

    def run_for(self, span: int) -> None:
        """Everything that falls due within ``span`` milliseconds, in order."""
        until = Instant(self.at + span)
        while self._heap and self._heap[0][0] <= until:
            self.at, _, _, label, act = heapq.heappop(self._heap)
            self.turns += 1
            self.note(f"{self.at} {label}")
            act()
        self.at = until

    def note(self, text: str) -> None:
        """One more line of the trace."""
        self._trace.update(text.encode() + b"\n")

    @property
    def trace(self) -> str:
        """The hash of all lines so far: the same for the same seed, on every machine."""
        return self._trace.hexdigest()
