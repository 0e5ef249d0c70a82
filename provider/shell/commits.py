"""How steps come to the disk: on the event loop while the disk is quick, in a thread while it is not.

To hand a commit to a thread and wait for it costs a bid a quarter of what a bare echo takes (measured). But
beside a tenant who writes as fast as the disk takes it, a commit waits for his writes: 15 ms at the median,
up to 0.9 s (measured), in which nobody would be answered: no other tenant's traffic, no log, no scrape.

Owns the thread. Does not own what is committed, nor when it is tried again (``loop``). Invariant: commits are
made one at a time, and when ``close`` returns none is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Protocol

from provider.core.step import Step
from provider.ports import Store

SLOW_S = 0.02
"""What takes longer is not waited for on the event loop. Shorter hitches a quick disk has too."""
QUICK_IN_A_ROW = 50
"""So many commits have to be quick before they are made on the loop again: one that is not holds it up."""


class Commits(Protocol):
    """``loop.Loop`` awaits each before it asks for the next."""

    async def commit(self, steps: Sequence[Step]) -> None:
        """As ``ports.Store.commit``. Cancelled, it may still come to be."""


class InlineCommits:
    """On the event loop, always: for a store that waits for no disk."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def commit(self, steps: Sequence[Step]) -> None:
        self._store.commit(steps)


class PatientCommits:
    """On the event loop until one takes longer than ``SLOW_S``; then in a thread, until ``QUICK_IN_A_ROW`` do
    not. ``close`` it before the store."""

    def __init__(self, store: Store, time_s: Callable[[], float] = perf_counter) -> None:
        self._store = store
        self._time_s = time_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")
        self._in_thread = 0
        """Commits that have to be quick yet."""

    def close(self) -> None:
        """Waits for what is under way. Idempotent."""
        self._thread.shutdown()

    async def commit(self, steps: Sequence[Step]) -> None:
        if self._in_thread:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, steps)
        else:
            self._commit(steps)

    def _commit(self, steps: Sequence[Step]) -> None:
        """A failure may have taken its time too: it waited for somebody else's lock."""
        began_s = self._time_s()
        try:
            self._store.commit(steps)
        finally:
            if self._time_s() - began_s > SLOW_S:
                self._in_thread = QUICK_IN_A_ROW
            elif self._in_thread:
                self._in_thread -= 1
