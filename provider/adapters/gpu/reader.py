"""Reads cards with the tables of ``nvml``, every call under the table of ``policy``.

Owns the handles, what each card is known not to tell, and the count of failures. One sick card never keeps
the others from being read. Runs in the worker only, on one thread, and may block for ever: that is what
the slot and the daemon's watch are for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import pynvml

from provider.adapters.gpu.nvml import IDENTITY, IN_OUR_UNIT, READING, Call, Handle
from provider.adapters.gpu.policy import FUNCTION_NOT_FOUND, UNREADABLE_TEXT, Treatment, treatment
from provider.adapters.gpu.slot import NO_GPU, CallSlot

T = TypeVar("T")
Row = dict[str, Any]
"""One GPU's part of a message: its fields, and ``trouble`` as pairs of symbol and return code."""


class CallFailed(Exception):
    """A call returned anything but success."""

    def __init__(self, symbol: str, code: int) -> None:
        super().__init__(f"{symbol} returned {code}")
        self.symbol = symbol
        self.code = code


class LibraryGone(CallFailed):
    """A code after which no call can succeed: the worker has to end."""


class Reader:
    """Initialises NVML when made, once: init and shutdown in turns leak and hang in real drivers."""

    def __init__(self, slot: CallSlot) -> None:
        self._slot = slot
        self._handles: dict[int, tuple[Handle, str]] = {}
        self._silent: set[tuple[int, str]] = set()
        self.skipped: frozenset[int] = frozenset()
        """Indexes that are left alone, because a call on them hung."""
        self.failures: Counter[tuple[str, int]] = Counter()
        self._call("nvmlInitWithFlags", pynvml.nvmlInit)

    def inventory(self) -> Row:
        """What there is, with fresh handles: versions, and a row for each index, dead ones included."""
        self._handles.clear()
        count = self._call("nvmlDeviceGetCount_v2", pynvml.nvmlDeviceGetCount)
        return {
            "driver_version": self._system("nvmlSystemGetDriverVersion", pynvml.nvmlSystemGetDriverVersion),
            "cuda_version": self._system(
                "nvmlSystemGetCudaDriverVersion", pynvml.nvmlSystemGetCudaDriverVersion
            ),
            "gpus": [self._identity(index) for index in range(count)],
        }

    def readings(self) -> list[Row]:
        """One sample of each card that the last inventory could open."""
        return [self._reading(index) for index in sorted(self._handles) if index not in self.skipped]

    def _identity(self, index: int) -> Row:
        row: Row = {"index": index, "trouble": []}
        if index in self.skipped:
            return row
        try:
            handle = self._call(
                "nvmlDeviceGetHandleByIndex_v2", lambda: pynvml.nvmlDeviceGetHandleByIndex(index), index
            )
            row["uuid"] = self._call("nvmlDeviceGetUUID", lambda: pynvml.nvmlDeviceGetUUID(handle), index)
        except LibraryGone:
            raise
        except CallFailed as failure:
            row["trouble"].append((failure.symbol, failure.code))
            return row
        self._handles[index] = handle, row["uuid"]
        return self._fill(row, IDENTITY)

    def _reading(self, index: int) -> Row:
        _, uuid = self._handles[index]
        row = self._fill({"index": index, "uuid": uuid, "trouble": []}, READING)
        if any(treatment(code) is Treatment.LOST for _, code in row["trouble"]):
            del self._handles[index]  # a handle does not come back; the next inventory asks for a new one
        return row

    def _fill(self, row: Row, facts: tuple[tuple[Call, ...], ...]) -> Row:
        for alternatives in facts:
            for call in alternatives:
                if self._take(row, call):
                    break
            if any(treatment(code) is Treatment.LOST for _, code in row["trouble"]):
                break
        return row

    def _take(self, row: Row, call: Call) -> bool:
        """Make one call and write down what it gives. False: this card cannot tell, try an older call."""
        index = row["index"]
        if (index, call.symbol) in self._silent:
            return False
        handle, uuid = self._handles[index]
        try:
            answer = self._call(call.symbol, partial(call.ask, handle), index, uuid)
        except LibraryGone:
            raise
        except CallFailed as failure:
            if treatment(failure.code) is Treatment.ABSENT:
                self._silent.add((index, call.symbol))
                return False
            row["trouble"].append((failure.symbol, failure.code))
            return True
        for given in call.gives:
            value = given.pick(answer)
            row[given.field] = None if value is None else IN_OUR_UNIT[given.unit](value)
        return True

    def _system(self, symbol: str, ask: Callable[[], T]) -> T | None:
        try:
            return self._call(symbol, ask)
        except LibraryGone:
            raise
        except CallFailed:
            return None

    def _call(self, symbol: str, ask: Callable[[], T], index: int = NO_GPU, uuid: str = "") -> T:
        """The only place that calls NVML; the vendor's errors are mapped here and nowhere else."""
        self._slot.enter(symbol, index, uuid)
        try:
            return ask()
        except pynvml.NVMLError as error:
            code = error.value
        except pynvml.NVMLLibraryMismatchError:  # how the bindings say that a symbol is missing, twice
            code = FUNCTION_NOT_FOUND
        except UnicodeDecodeError:
            code = UNREADABLE_TEXT
        finally:
            self._slot.leave()
        if treatment(code) is Treatment.LIBRARY:
            raise LibraryGone(symbol, code)
        if treatment(code) is not Treatment.ABSENT:
            self.failures[symbol, code] += 1
        raise CallFailed(symbol, code)
