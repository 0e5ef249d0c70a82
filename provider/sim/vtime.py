"""Time that costs nothing: an asyncio loop whose clock jumps to whatever is due next.

``run(main())`` is ``asyncio.run`` on such a loop: an hour of sleeping passes in microseconds, and the same
program takes the same turns every time. Only for programs that do no I/O and use no threads: the clock would
run away from them. Invariant: time moves only when nothing is ready to run; where nothing ever will be,
``Deadlock`` is raised instead of waiting for ever.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar, cast

T = TypeVar("T")
_Ready = list[tuple[selectors.SelectorKey, int]]


class Deadlock(AssertionError):
    """Every task waits for something that nothing is going to do."""


class _JumpingSelector:
    """A real selector (the loop wakes itself through one) that never sleeps: it turns the clock instead."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> _Ready:
        ready = self._real.select(0)
        if ready:
            return ready
        if timeout is None:
            raise Deadlock("all tasks wait, and nothing is scheduled")
        self.now_s += max(timeout, 0.0)
        return []

    def register(self, file: int, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(file, events, data)

    def unregister(self, file: int) -> selectors.SelectorKey:
        return self._real.unregister(file)

    def modify(self, file: int, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(file, events, data)

    def get_key(self, file: int) -> selectors.SelectorKey:
        return self._real.get_key(file)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop whose time begins at 0 s."""
    selector = _JumpingSelector()
    loop = asyncio.SelectorEventLoop(cast("selectors.BaseSelector", selector))
    loop.time = lambda: selector.now_s  # type: ignore[method-assign]  # its one seam for another clock
    return loop


def run(main: Coroutine[Any, Any, T]) -> T:
    """What ``main`` returns, in no time. Raises ``Deadlock`` where it would wait for ever."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main)
