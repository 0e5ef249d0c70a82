"""The worker's second thread, as the first sees it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from provider.adapters.gpu.calls import Caller
from provider.adapters.gpu.slot import CallSlot, Lane
from provider.adapters.gpu.watcher import Watcher
from provider.sim.waiting import until


class Fatal(Caller):
    """Ends the thread that calls."""

    def __call__(self, *_args: Any, **_kwargs: Any) -> Any:
        raise SystemExit


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_silent_for_ever_and_one_that_was_not_started_is_not() -> None:
    slot = CallSlot.create()
    watcher = Watcher(Fatal(slot.lane(Lane.WATCHER)), lambda **_message: None)
    assert watcher.silent_s == 0.0
    watcher.start()
    asyncio.run(until(lambda: watcher.silent_s > 1e6))
    watcher.start()
    assert watcher.silent_s > 1e6, "a thread starts once: another worker brings another"
    slot.close()
