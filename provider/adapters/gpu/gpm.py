"""How busy multiprocessors and tensor cores were between two samples (NVML's GPM, Hopper and newer).

Owns the samples: two a unit, allocated once, in turns. NVIDIA: the two must be at least a second apart.
Runs in the worker only. The one figure that a MIG instance has of its own work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any

import pynvml

from provider.adapters.gpu.calls import Caller, CallFailed, LibraryGone
from provider.adapters.gpu.policy import Treatment, treatment

if TYPE_CHECKING:
    from provider.adapters.gpu.reader import Unit

APART_S = 1.0
SYMBOL = "nvmlGpmSampleGet"
_RATIOS = {
    pynvml.NVML_GPM_METRIC_SM_UTIL: "sm_active_ratio",
    pynvml.NVML_GPM_METRIC_ANY_TENSOR_UTIL: "tensor_active_ratio",
}


@dataclass(slots=True)
class _Pair:
    """``older`` was taken at ``at``, if ever; ``spare`` is taken next."""

    older: Any
    spare: Any
    at: float | None = None
    told: dict[str, float] = field(default_factory=dict)


class Gpm:
    """Of every unit that has it."""

    def __init__(self, call: Caller) -> None:
        self._call = call
        self._pairs: dict[str, _Pair] = {}

    def keep(self, uuids: Collection[str]) -> None:
        """Units that are gone give their samples back."""
        for uuid in [uuid for uuid in self._pairs if uuid not in uuids]:
            pair = self._pairs.pop(uuid)
            for sample in (pair.older, pair.spare):
                with suppress(CallFailed):
                    self._call("nvmlGpmSampleFree", partial(pynvml.nvmlGpmSampleFree, sample))

    def ratios(self, unit: Unit) -> dict[str, float]:
        """Since the sample before; empty at the first, and where there is no such thing."""
        if SYMBOL in unit.silent:
            return {}
        try:
            return self._since_last(unit)
        except LibraryGone:
            raise
        except CallFailed as failure:
            if treatment(failure.code) is Treatment.ABSENT:
                unit.silent.add(SYMBOL)
            return {}

    def _since_last(self, unit: Unit) -> dict[str, float]:
        pair = self._pairs.get(unit.uuid) or self._begin(unit)
        now = time.monotonic()
        if pair is None or (pair.at is not None and now - pair.at <= APART_S):
            return pair.told if pair is not None else {}
        is_first, pair.at, pair.told = pair.at is None, None, {}
        self._take(unit, pair.spare)
        pair.older, pair.spare, pair.at = pair.spare, pair.older, now
        if not is_first:
            pair.told = self._between(unit, pair.spare, pair.older)
        return pair.told

    def _begin(self, unit: Unit) -> _Pair | None:
        if unit.parent is None and not self._on(unit, "nvmlGpmQueryDeviceSupport", _is_supported):
            unit.silent.add(SYMBOL)
            return None
        first = self._call("nvmlGpmSampleAlloc", pynvml.nvmlGpmSampleAlloc)
        second = self._call("nvmlGpmSampleAlloc", pynvml.nvmlGpmSampleAlloc)
        return self._pairs.setdefault(unit.uuid, _Pair(first, second))

    def _take(self, unit: Unit, sample: Any) -> None:
        if unit.parent is None:
            self._on(unit, SYMBOL, lambda handle: pynvml.nvmlGpmSampleGet(handle, sample))
        else:
            number = unit.gpu_instance
            self._on(
                unit.parent,
                "nvmlGpmMigSampleGet",
                lambda handle: pynvml.nvmlGpmMigSampleGet(handle, number, sample),
            )

    def _between(self, unit: Unit, first: Any, second: Any) -> dict[str, float]:
        wanted = pynvml.c_nvmlGpmMetricsGet_t()
        wanted.version = pynvml.NVML_GPM_METRICS_GET_VERSION
        wanted.numMetrics = len(_RATIOS)
        wanted.sample1, wanted.sample2 = first, second
        for place, metric in enumerate(_RATIOS):
            wanted.metrics[place].metricId = metric
        self._on(unit, "nvmlGpmMetricsGet", lambda _: pynvml.nvmlGpmMetricsGet(wanted))
        answers = wanted.metrics[: len(_RATIOS)]
        return {
            _RATIOS[each.metricId]: min(each.value / 100, 1.0)
            for each in answers
            if each.nvmlReturn == 0 and isfinite(each.value) and each.value >= 0
        }

    def _on(self, unit: Unit, symbol: str, ask: Callable[[Any], Any]) -> Any:
        return self._call(symbol, lambda: ask(unit.handle), unit.index, unit.uuid)


def _is_supported(handle: Any) -> bool:
    return bool(pynvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice)
