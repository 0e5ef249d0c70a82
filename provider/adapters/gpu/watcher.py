"""The worker's second thread: waits for what the driver reports, and tells it as it happens.

Owns the event set and its life: made anew when cards come or go or a wait fails, with a back-off. Asks a card
only for kinds of events that it knows; a timeout is how the driver says that nothing happened. Calls
through a lane of the slot of its own, so that a hang here is blamed here.

Invariant: nothing that fails here ends the worker; ``silent_s`` tells when it hangs.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pynvml

from provider.adapters.gpu.calls import Caller, CallFailed
from provider.adapters.gpu.policy import Treatment, treatment

if TYPE_CHECKING:
    from provider.adapters.gpu.reader import Unit

XID = 0x8
MIG_CONFIG = 0x100
"""``nvmlEventTypeXidCriticalError`` and ``nvmlEventMigConfigChange``."""
WAIT_MS = 1000
_FOR_EVER_S = 1e9
_WHOLE_CARD = 0xFFFFFFFF
BACKOFF_MIN_S, BACKOFF_MAX_S = 1.0, 30.0


class Watcher:
    """``look_at`` is called by the sampler after each discovery; it reads and clears ``is_reconfigured``."""

    def __init__(self, call: Caller, tell: Callable[..., None]) -> None:
        self._call = call
        self._tell = tell
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nvml-events", daemon=True)
        self._is_started = False
        self._cards: tuple[Unit, ...] = ()
        self._alive_at = time.monotonic()
        self.is_reconfigured = False
        """MIG instances were made or destroyed."""

    def start(self) -> None:
        """Begin to wait; fine when it does already."""
        if not self._is_started:
            self._is_started = True
            self._alive_at = time.monotonic()
            self._thread.start()

    @property
    def silent_s(self) -> float:
        """How long ago it last came out of the driver; 0 where it was not started, for ever where it died."""
        if not self._is_started:
            return 0.0
        return time.monotonic() - self._alive_at if self._thread.is_alive() else _FOR_EVER_S

    def look_at(self, cards: tuple[Unit, ...]) -> None:
        """These are there from now on. The same ones again change nothing: a new set would miss something."""
        if [_place(card) for card in cards] != [_place(card) for card in self._cards]:
            self._cards = cards

    def _run(self) -> None:
        backoff_s = BACKOFF_MIN_S
        while True:
            started = time.monotonic()
            try:
                self._watch(self._cards)
            except CallFailed:
                if time.monotonic() - started > BACKOFF_MAX_S:
                    backoff_s = BACKOFF_MIN_S
                self._rest(backoff_s)
                backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    def _watch(self, cards: Sequence[Unit]) -> None:
        """Until other cards are there. Raises ``CallFailed``."""
        events = self._call("nvmlEventSetCreate", pynvml.nvmlEventSetCreate)
        try:
            names = {_address(card.handle): card.uuid for card in cards if self._register(card, events)}
            if not names:
                self._rest(BACKOFF_MIN_S)
            while names and self._cards is cards:
                self._wait(events, names)
        finally:
            with suppress(CallFailed):
                self._call("nvmlEventSetFree", lambda: pynvml.nvmlEventSetFree(events))

    def _register(self, card: Unit, events: Any) -> bool:
        """False: it can tell nothing, or is gone."""
        where = (card.index, card.uuid)
        try:
            known = self._call(
                "nvmlDeviceGetSupportedEventTypes",
                lambda: pynvml.nvmlDeviceGetSupportedEventTypes(card.handle),
                *where,
            )
            wanted = known & (XID | MIG_CONFIG)
            if wanted:
                self._call(
                    "nvmlDeviceRegisterEvents",
                    lambda: pynvml.nvmlDeviceRegisterEvents(card.handle, wanted, events),
                    *where,
                )
            return bool(wanted)
        except CallFailed as failure:
            if treatment(failure.code) is Treatment.LIBRARY:
                raise
            return False
        finally:
            self._alive_at = time.monotonic()

    def _wait(self, events: Any, names: dict[int, str]) -> None:
        try:
            event = self._call("nvmlEventSetWait_v2", lambda: _next(events))
        finally:
            self._alive_at = time.monotonic()
        if event is None:
            return
        uuid = names.get(_address(event.device))
        if event.eventType == MIG_CONFIG:
            self.is_reconfigured = True
        elif event.eventType == XID and uuid is not None:
            instance = None if event.gpuInstanceId == _WHOLE_CARD else event.gpuInstanceId
            self._tell(kind="fault", uuid=uuid, xid=event.eventData, gpu_instance=instance)

    def _rest(self, seconds: float) -> None:
        """In small steps: a thread that rests is alive."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._stopped.wait(0.5)
            self._alive_at = time.monotonic()


def _next(events: Any) -> Any:
    """What happened, or None: a timeout is no failure."""
    try:
        return pynvml.nvmlEventSetWait_v2(events, WAIT_MS)
    except pynvml.NVMLError_Timeout:
        return None


def _place(card: Unit) -> tuple[str, int]:
    return card.uuid, _address(card.handle)


def _address(handle: Any) -> int:
    """Of the driver's own record of a card: equal in handles of the same one."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
