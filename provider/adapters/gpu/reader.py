"""Reads cards and MIG instances with the tables ``identity`` and ``sampling``.

Owns the handles and what each unit is known not to tell. One sick card never keeps the others from being
read. Runs in the worker only, on the sampler's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from provider.adapters.gpu.calls import Caller, CallFailed, LibraryGone
from provider.adapters.gpu.gpm import Gpm
from provider.adapters.gpu.identity import IDENTITY, INSTANCE_IDENTITY
from provider.adapters.gpu.links import read_links
from provider.adapters.gpu.nvml import IN_OUR_UNIT, Call, Field, Given, Group, Handle, field_value
from provider.adapters.gpu.pci import nvidia_gpus
from provider.adapters.gpu.policy import (
    CORRUPTED_INFOROM,
    NO_INSTANCE,
    SUCCESS,
    UNREADABLE,
    Treatment,
    treatment,
)
from provider.adapters.gpu.sampling import FAST, INSTANCE, MEDIUM, PROCESSES
from provider.adapters.gpu.slot import NO_GPU

T = TypeVar("T")
Row = dict[str, Any]
"""One unit's part of a message: its fields, and ``trouble`` as pairs of symbol and return code."""
VALIDATE_INFOROM = "nvmlDeviceValidateInforom"
_STRANGE_PROCESSES = ((535, 43), (535, 86))
_INSTANCES_MOST = 16
"""More than any card has; where a driver tells a larger number it is not believed."""


@dataclass(slots=True)
class Unit:
    """A card, or a MIG instance of one, that could be opened."""

    index: int
    handle: Handle
    uuid: str
    silent: set[str]
    """Symbols of which it is known that they tell nothing of it: remembered until its modes change."""
    parent: Unit | None = None
    gpu_instance: int | None = None
    bus_id: str | None = None
    answers: dict[Field, tuple[int, Row]] = field(default_factory=dict)
    """Of the last call for numbered fields: return code and facts."""


class Reader:
    """Initialises NVML when made, once: init and shutdown in turns leak and hang in real drivers."""

    def __init__(self, call: Caller, pci_devices: Path, inforom_every_s: float) -> None:
        self._call = call
        self._pci_devices = pci_devices
        self._inforom_every_s = inforom_every_s
        self._inforoms: dict[str, tuple[float, int]] = {}
        """By UUID: when it was checked, and with what return code."""
        self._gpm = Gpm(call)
        self._units: dict[str, Unit] = {}
        self._silent: dict[str, set[str]] = {}
        self._always_silent: frozenset[str] = frozenset()
        self._modes: dict[str, tuple[Any, Any]] = {}
        self.skipped: frozenset[int] = frozenset()
        """Indexes that are left alone, because a call on them hung."""
        self._call("nvmlInitWithFlags", pynvml.nvmlInit)

    def cards(self) -> tuple[Unit, ...]:
        """Whole cards that can be called."""
        return tuple(unit for unit in self._units.values() if unit.parent is None)

    def inventory(self) -> Row:
        """What there is, with fresh handles: versions, links, a row for each index, dead ones included."""
        self._units.clear()
        driver = self._system("nvmlSystemGetDriverVersion", pynvml.nvmlSystemGetDriverVersion)
        self._always_silent = frozenset() if _tells_processes(driver) else frozenset({PROCESSES})
        count = self._call("nvmlDeviceGetCount_v2", pynvml.nvmlDeviceGetCount)
        rows = [row for index in range(count) for row in self._card(index)]
        self._gpm.keep(self._units)
        self._silent = {uuid: unit.silent for uuid, unit in self._units.items()}
        self._modes = {uuid: modes for uuid, modes in self._modes.items() if uuid in self._units}
        return {
            "driver_version": driver,
            "cuda_version": self._system(
                "nvmlSystemGetCudaDriverVersion", pynvml.nvmlSystemGetCudaDriverVersion
            ),
            "count": count,
            "pci": nvidia_gpus(self._pci_devices),
            "gpus": rows,
            "links": read_links(self._call, self.cards()),
            **self._confidential(),
        }

    def readings(self, *, is_medium: bool) -> list[Row]:
        """One sample of each unit that the last inventory could open; ``medium`` in it where asked for, and
        ``slow``: a call since the last one that took too long, on it or on no card in particular."""
        rows = [
            self._reading(unit, is_medium=is_medium)
            for unit in tuple(self._units.values())
            if unit.index not in self.skipped and unit.uuid in self._units
        ]
        for row in rows:
            row["slow"] = self._call.slow.get(row["index"]) or self._call.slow.get(NO_GPU)
        self._call.slow.clear()
        return rows

    def _card(self, index: int) -> Iterator[Row]:
        row: Row = {"index": index, "trouble": []}
        if index not in self.skipped:
            unit = self._open(row, index)
            if unit is not None:
                self._fill(unit, row, row, IDENTITY)
                unit.bus_id = row.get("pci_bus_id")
                self._check_inforom(unit, row)
                self._note_modes(unit, row)
                yield row
                if row.get("is_mig_on"):
                    yield from self._instances(unit, row)
                return
        yield row

    def _check_inforom(self, card: Unit, row: Row) -> None:
        """``is_inforom_corrupt`` in ``row``, as of the last check; absent where the card cannot tell."""
        now_s = time.monotonic()
        checked_s, code = self._inforoms.get(card.uuid, (float("-inf"), SUCCESS))
        if now_s - checked_s >= self._inforom_every_s and not _is_lost(row):
            _, code = self._one(card, VALIDATE_INFOROM, pynvml.nvmlDeviceValidateInforom)
            if self._call.slow.get(card.index, ("",))[0] == VALIDATE_INFOROM:
                del self._call.slow[card.index]  # that memory is slow, which says nothing of the card
            self._inforoms[card.uuid] = now_s, code
        if code in (SUCCESS, CORRUPTED_INFOROM):
            row["is_inforom_corrupt"] = code == CORRUPTED_INFOROM

    def _note_modes(self, card: Unit, row: Row) -> None:
        """With another mode a card tells other things: what it did not is asked again."""
        modes = row.get("is_ecc_on"), row.get("is_mig_on")
        if self._modes.setdefault(card.uuid, modes) != modes:
            self._modes[card.uuid] = modes
            card.silent.clear()
            card.silent.update(self._always_silent)

    def _instances(self, card: Unit, card_row: Row) -> Iterator[Row]:
        """The table is sparse: a place without an instance says so, and the next may have one.

        ``has_unread_instances`` in the card's row: some failed, so that those not listed may yet be there.
        """
        most = pynvml.nvmlDeviceGetMaxMigDeviceCount
        count, failed = self._one(card, "nvmlDeviceGetMaxMigDeviceCount", most)
        for place in range(min(count or 0, _INSTANCES_MOST)):
            handle, code = self._one(
                card, "nvmlDeviceGetMigDeviceHandleByIndex", partial(_instance_at, place)
            )
            if handle is None:
                failed = failed or code
                continue
            row: Row = {"index": card.index, "parent": card.uuid, "trouble": []}
            unit = self._name(row, card.index, handle)
            if unit is None:
                failed = row["trouble"][0][1]
                continue
            unit.parent = card
            self._fill(unit, row, row, INSTANCE_IDENTITY)
            unit.gpu_instance = row.get("gpu_instance")
            yield row
        card_row["has_unread_instances"] = bool(failed)

    def _open(self, row: Row, index: int) -> Unit | None:
        try:
            handle = self._call(
                "nvmlDeviceGetHandleByIndex_v2", lambda: pynvml.nvmlDeviceGetHandleByIndex(index), index
            )
        except LibraryGone:
            raise
        except CallFailed as failure:
            row["trouble"].append((failure.symbol, failure.code))
            return None
        return self._name(row, index, handle)

    def _name(self, row: Row, index: int, handle: Handle) -> Unit | None:
        try:
            row["uuid"] = self._call("nvmlDeviceGetUUID", lambda: pynvml.nvmlDeviceGetUUID(handle), index)
        except LibraryGone:
            raise
        except CallFailed as failure:
            row["trouble"].append((failure.symbol, failure.code))
            return None
        silent = self._silent.setdefault(row["uuid"], set(self._always_silent))
        unit = Unit(index, handle, row["uuid"], silent)
        self._units[unit.uuid] = unit
        return unit

    def _one(self, unit: Unit, symbol: str, ask: Callable[[Handle], T]) -> tuple[T | None, int]:
        """An answer, or the return code why there is none."""
        try:
            return self._call(symbol, partial(ask, unit.handle), unit.index, unit.uuid), SUCCESS
        except LibraryGone:
            raise
        except CallFailed as failure:
            return None, failure.code

    def _reading(self, unit: Unit, *, is_medium: bool) -> Row:
        row: Row = {"index": unit.index, "uuid": unit.uuid, "trouble": []}
        self._fill(unit, row, row, FAST if unit.parent is None else INSTANCE)
        if not _is_lost(row):
            row.update(self._gpm.ratios(unit))
        if is_medium and unit.parent is None and not _is_lost(row):
            row["medium"] = {}
            self._fill(unit, row, row["medium"], MEDIUM)
        if _is_lost(row):
            # a handle does not come back; the next inventory asks for a new one
            self._units = {
                uuid: each
                for uuid, each in self._units.items()
                if each is not unit and each.parent is not unit
            }
        return row

    def _fill(self, unit: Unit, row: Row, into: Row, group: Group) -> None:
        """Ask for ``group`` and write it to ``into``; what fails is noted in ``row``."""
        self._ask_fields(unit, row, group)
        for alternatives in group:
            if _is_lost(row):
                return
            for way in alternatives:
                if way.symbol not in unit.silent and self._take(unit, row, into, way):
                    break

    def _ask_fields(self, unit: Unit, row: Row, group: Group) -> None:
        """All numbered fields of a group in one call; each has a return code of its own."""
        unit.answers = {}
        wanted = [
            way
            for alternatives in group
            for way in alternatives
            if isinstance(way, Field) and way.symbol not in unit.silent
        ]
        if not wanted:
            return
        numbers = [(way.number, way.scope) for way in wanted]
        try:
            values = self._call(
                "nvmlDeviceGetFieldValues",
                lambda: pynvml.nvmlDeviceGetFieldValues(unit.handle, numbers),
                unit.index,
                unit.uuid,
            )
        except LibraryGone:
            raise
        except CallFailed as failure:
            if treatment(failure.code) is not Treatment.ABSENT:
                row["trouble"].append((failure.symbol, failure.code))
            else:
                unit.answers = dict.fromkeys(wanted, (failure.code, {}))
            return
        for way, value in zip(wanted, values, strict=True):
            unit.answers[way] = _answer(way, value)

    def _take(self, unit: Unit, row: Row, into: Row, way: Call | Field) -> bool:
        """Get one fact and write down what it gives. False: this unit cannot tell, try an older way."""
        if isinstance(way, Field) and way not in unit.answers:
            return True  # the call for all of them failed, which is noted
        try:
            if isinstance(way, Field):
                code, facts = unit.answers[way]
                if code != SUCCESS:
                    raise self._call.failed(way.symbol, code)
            else:
                facts = self._call(way.symbol, partial(_asked, way, unit.handle), unit.index, unit.uuid)
        except LibraryGone:
            raise
        except CallFailed as failure:
            if treatment(failure.code) is Treatment.ABSENT:
                unit.silent.add(way.symbol)
                return False
            row["trouble"].append((failure.symbol, failure.code))
            return True
        into.update(facts)
        return True

    def _confidential(self) -> Row:
        """Of the whole host. NOT_SUPPORTED before Hopper."""
        state = self._system("nvmlSystemGetConfComputeState", pynvml.nvmlSystemGetConfComputeState)
        if state is None:
            return {"is_confidential": None, "is_confidential_ready": None}
        if not state.ccFeature:
            return {"is_confidential": False, "is_confidential_ready": None}
        ready = self._system(
            "nvmlSystemGetConfComputeGpusReadyState", pynvml.nvmlSystemGetConfComputeGpusReadyState
        )
        return {"is_confidential": True, "is_confidential_ready": None if ready is None else bool(ready)}

    def _system(self, symbol: str, ask: Callable[[], T]) -> T | None:
        try:
            return self._call(symbol, ask)
        except LibraryGone:
            raise
        except CallFailed:
            return None


def _instance_at(place: int, handle: Handle) -> Handle | None:
    """None for an empty place, which is no failure."""
    try:
        return pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
    except pynvml.NVMLError as error:
        if error.value in NO_INSTANCE:
            return None
        raise


def _is_lost(row: Row) -> bool:
    return any(treatment(code) is Treatment.LOST for _, code in row["trouble"])


def _asked(way: Call, handle: Handle) -> Row:
    return {given.field: _in_our_unit(given, told) for told in [way.ask(handle)] for given in way.gives}


def _answer(way: Field, value: Any) -> tuple[int, Row]:
    """Return code and facts of one numbered field."""
    if value.nvmlReturn:
        return value.nvmlReturn, {}
    try:
        told = field_value(value)
        return SUCCESS, {given.field: _in_our_unit(given, told) for given in way.gives}
    except ValueError:
        return UNREADABLE, {}


def _in_our_unit(given: Given, answer: Any) -> Any:
    value = given.pick(answer)
    return None if value is None else IN_OUR_UNIT[given.unit](value)


def _tells_processes(driver_version: str | None) -> bool:
    """535.43 to 535.86 fill in another structure than their headers say: garbage, read by it."""
    numbers = [int(part) for part in (driver_version or "").split(".")[:2] if part.isdecimal()]
    return len(numbers) < 2 or not (
        _STRANGE_PROCESSES[0] <= (numbers[0], numbers[1]) <= _STRANGE_PROCESSES[1]
    )
