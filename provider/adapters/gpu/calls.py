"""The only place that calls NVML: every call is named in the slot before, and its failure read after.

Owns the vendor's errors, mapped here by ``policy`` and nowhere else, and the count of failures. One for each
thread, with its own lane of the slot. Runs in the worker only, and may block for ever: that is what the
slot and the daemon's watch are for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import pynvml

from provider.adapters.gpu.policy import FUNCTION_NOT_FOUND, UNREADABLE, Treatment, treatment
from provider.adapters.gpu.slot import NO_GPU, CallSlot

T = TypeVar("T")


class CallFailed(Exception):
    """A call returned anything but success."""

    def __init__(self, symbol: str, code: int) -> None:
        super().__init__(f"{symbol} returned {code}")
        self.symbol = symbol
        self.code = code


class LibraryGone(CallFailed):
    """A code after which no call can succeed: the worker has to end."""


class Caller:
    """Makes calls for one thread."""

    def __init__(self, slot: CallSlot, slow_s: float = float("inf")) -> None:
        self._slot = slot
        self._slow_s = slow_s
        self.slow: dict[int, tuple[str, float]] = {}
        """Calls that took longer, and how long, by the index of the card: the last ones that nobody took."""
        self.failures: Counter[tuple[str, int]] = Counter()
        """Calls that failed although the capability is there, by symbol and return code."""

    def __call__(self, symbol: str, ask: Callable[[], T], index: int = NO_GPU, uuid: str = "") -> T:
        """Raises ``CallFailed``, or ``LibraryGone`` among them."""
        self._slot.enter(symbol, index, uuid)
        began_s = time.monotonic()
        try:
            return ask()
        except pynvml.NVMLError as error:
            code: int = error.value
        except pynvml.NVMLLibraryMismatchError:  # how the bindings say that a symbol is missing, twice
            code = FUNCTION_NOT_FOUND
        except ValueError:  # UnicodeDecodeError among them
            code = UNREADABLE
        finally:
            self._slot.leave()
            took_s = time.monotonic() - began_s
            if took_s > self._slow_s:
                self.slow[index] = symbol, took_s
        raise self.failed(symbol, code)

    def failed(self, symbol: str, code: int) -> CallFailed:
        """The failure as an exception, counted: for codes that come inside of an answer too."""
        if treatment(code) is Treatment.LIBRARY:
            return LibraryGone(symbol, code)
        if treatment(code) is not Treatment.ABSENT:
            self.failures[symbol, code] += 1
        return CallFailed(symbol, code)
