"""``ports.GpuProbe`` without a GPU: cards from a list such as 2 x ``h100``, labelled as simulated everywhere.

Owns their names, identities and readings. Invariant: everything follows from seed, list and clock, so the
same run reads the same; and nothing that comes from here can be taken for a real card: the name says so, the
UUID says so, ``simulated`` says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from provider.core.gpu_models import gpu_kind
from provider.domain.errors import ConfigError
from provider.domain.gpu import Gpu, GpuFault, GpuHealth, GpuInventory, GpuProcess, GpuReading
from provider.domain.ids import GpuUuid
from provider.ports import Clock
from provider.sim import gpu_telemetry
from provider.sim.gpu_cards import CARDS, Card

_RESERVED_BYTES = 500 * 1024**2
_WAVE_MS = 60_000
"""Load goes up and down once a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedGpus:
    """``count`` cards of one model, in the marketplace's spelling."""

    model: str
    count: int = 1


def simulated_uuid(seed: str, index: int) -> GpuUuid:
    """``GPU-SIM-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx``: the same for the same seed and index."""
    digits = hashlib.sha256(f"{seed}/{index}".encode()).hexdigest()
    return GpuUuid(f"GPU-SIM-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}")


class SimulatedProbe:
    """``seed`` tells hosts apart: the node's name will do. Unknown models are a ``ConfigError``."""

    def __init__(self, gpus: Sequence[SimulatedGpus], clock: Clock, *, seed: str) -> None:
        models = [each.model for each in gpus for _ in range(each.count)]
        for model in models:
            if model not in CARDS:
                raise ConfigError(
                    f"no GPU model {model!r} can be simulated",
                    remedy=f"use one of {', '.join(sorted(CARDS))}",
                )
        self._clock = clock
        self._cards = {simulated_uuid(seed, index): CARDS[model] for index, model in enumerate(models)}
        self._all = tuple(
            _gpu(simulated_uuid(seed, index), index, CARDS[model]) for index, model in enumerate(models)
        )
        self._born = clock.now()
        self._load: dict[GpuUuid, float] = {}
        self._processes: dict[GpuUuid, tuple[GpuProcess, ...]] = {}
        self._inventory = GpuInventory(
            gpus=self._all,
            driver_version="simulated",
            cuda_version="12.8",
            problem=None if models else "no GPU is simulated",
            simulated=True,
        )
        self._told = self._inventory
        self._changed = asyncio.Event()
        self._faults: list[GpuFault] = []
        self._reported = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def discover(self) -> GpuInventory:
        self._told = self._inventory
        return self._told

    def readings(self) -> tuple[GpuReading, ...]:
        """Of every card that is there and answers."""
        return tuple(
            self._reading(gpu) for gpu in self._inventory.gpus if gpu.health is not GpuHealth.UNHEALTHY
        )

    def changes(self) -> AsyncIterator[GpuInventory]:
        """Inventories that differ from the one before, beginning with what ``discover`` told last."""
        return self._changes_since(self._told)

    async def faults(self) -> AsyncIterator[GpuFault]:
        """What ``report`` was told, from the beginning."""
        seen = 0
        while True:
            while seen < len(self._faults):
                seen += 1
                yield self._faults[seen - 1]
            self._reported.clear()
            await self._reported.wait()

    async def _changes_since(self, told: GpuInventory) -> AsyncIterator[GpuInventory]:
        while True:
            while self._inventory == told:
                self._changed.clear()
                await self._changed.wait()
            told = self._inventory
            yield told

    # --- what a test, or the simulated world, can make happen

    def judge(self, uuid: GpuUuid, health: GpuHealth, problem: str | None) -> None:
        """A card falls ill, or gets well."""
        self._set(
            tuple(
                replace(gpu, health=health, problem=problem) if gpu.uuid == uuid else gpu
                for gpu in self._inventory.gpus
            )
        )

    def report(self, uuid: GpuUuid, xid: int, *, pid: int | None = None, process: str | None = None) -> None:
        """The driver reports an error of a card, now."""
        self._faults.append(GpuFault(uuid=uuid, xid=xid, at=self._clock.now(), pid=pid, process=process))
        self._reported.set()

    def fail(self, uuid: GpuUuid, problem: str = "simulated failure") -> None:
        """A card is lost; it stays in the list, and is not read any more."""
        self.judge(uuid, GpuHealth.UNHEALTHY, problem)

    def remove(self, uuid: GpuUuid) -> None:
        """A card goes."""
        self._set(tuple(gpu for gpu in self._inventory.gpus if gpu.uuid != uuid))

    def restore(self) -> None:
        """All cards are there and healthy."""
        self._set(self._all)

    def load(self, uuid: GpuUuid, ratio: float) -> None:
        """From now on the card is that busy, 0 to 1, give or take a wave."""
        self._load[uuid] = ratio

    def runs(self, uuid: GpuUuid, *pids: int) -> None:
        """From now on these processes compute on the card."""
        self._processes[uuid] = tuple(GpuProcess(pid=pid) for pid in pids)

    def _set(self, gpus: tuple[Gpu, ...]) -> None:
        self._inventory = replace(self._inventory, gpus=gpus)
        self._changed.set()

    def _reading(self, gpu: Gpu) -> GpuReading:
        card = self._cards[gpu.uuid]
        at = self._clock.now()
        base = self._load.get(gpu.uuid, 0.05)
        wave = math.sin(2 * math.pi * ((at - self._born) / _WAVE_MS + gpu.index / 8))
        utilization = min(1.0, max(0.0, base * (1 + 0.1 * wave)))
        span_watts = card.power_limit_watts - card.idle_watts
        mean_watts = card.idle_watts + base * span_watts
        plain = GpuReading(
            uuid=gpu.uuid,
            at=at,
            utilization_ratio=round(utilization, 2),
            memory_used_bytes=None if card.memory_bytes is None else int(base * card.memory_bytes * 0.8),
            memory_reserved_bytes=None if card.memory_bytes is None else _RESERVED_BYTES,
            power_watts=round(card.idle_watts + utilization * span_watts, 1),
            energy_joules=round(mean_watts * (at - self._born) / 1000, 3),
            temperature_celsius=float(round(32 + 45 * utilization)),
            fan_ratio=0.3 if card.has_fan else None,
            clock_memory_hertz=card.clock_memory_megahertz * 1e6,
            processes=self._processes.get(gpu.uuid),
        )
        return gpu_telemetry.told(plain, gpu, card, load=base, ran_s=(at - self._born) / 1000)


def _gpu(uuid: GpuUuid, index: int, card: Card) -> Gpu:
    name = f"SIMULATED {card.name}"
    kind = gpu_kind(name)
    plain = Gpu(
        uuid=uuid,
        index=index,
        name=name,
        model=kind.model,
        memory_bytes=card.memory_bytes,
        interface=kind.interface,
        pci_bus_id=f"0000:{0x18 + 0x10 * index:02x}:00.0",
        minor=index,
        architecture=card.architecture,
        compute_capability=card.compute_capability,
        power_limit_watts=float(card.power_limit_watts),
        simulated=True,
    )
    return gpu_telemetry.with_limits(plain, card)
