"""The cards of this host as last known, kept up over the worker's messages, its silence and its death.

Owns what is remembered between messages (who was at which index, what holds against each card); the rules
are ``verdict``'s. Invariant: ``inventory`` changes only when something about a card or the host did.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from provider.adapters.gpu import verdict
from provider.adapters.gpu.policy import Treatment, meaning, treatment
from provider.adapters.gpu.settings import PCI_DEVICES
from provider.adapters.gpu.verdict import CardRecord, Row
from provider.domain.gpu import Gpu, GpuHealth, GpuInventory
from provider.domain.ids import GpuUuid


class Roster:
    """``inventory`` is what may be told; the methods are what can happen to it."""

    def __init__(self, pci_devices: Path = PCI_DEVICES) -> None:
        self.inventory = GpuInventory()
        self._plain: tuple[Gpu, ...] = ()
        self._records: dict[GpuUuid, CardRecord] = {}
        self._problem: str | None = None
        self._blind: str | None = None
        self._pci_devices = pci_devices

    def at_bus(self, bus_id: str) -> GpuUuid | None:
        """The whole card at ``0000:18:00``."""
        for gpu in self._plain:
            if gpu.mig is None and gpu.pci_bus_id and gpu.pci_bus_id.rpartition(".")[0] == bus_id:
                return gpu.uuid
        return None

    def read(self, message: dict[str, Any]) -> None:
        """An inventory message: cards came, went, or could not be opened."""
        rows: list[Row] = message["gpus"]
        self._blind = None
        confidential = message["is_confidential"], message["is_confidential_ready"]
        found = {
            row["index"]: verdict.card(row, self._numa_node(row), confidential)
            for row in rows
            if "uuid" in row and "parent" not in row
        }
        uuids = {gpu.uuid for gpu in found.values()}
        indexes = {row["index"] for row in rows}
        kept = {
            gpu.index: gpu
            for gpu in self._plain
            if gpu.index in indexes and gpu.index not in found and gpu.uuid not in uuids
        }
        self._problem = verdict.nameless(rows, set(kept))
        self._plain = tuple(gpu for _, gpu in sorted((found | kept).items()))
        self._records = {gpu.uuid: self._records.get(gpu.uuid, CardRecord()) for gpu in self._plain}
        for row in rows:
            self._note_opened(row, (found | kept).get(row["index"]))
        self.inventory = replace(
            self.inventory,
            driver_version=message["driver_version"],
            cuda_version=verdict.cuda_version(message["cuda_version"]),
        )
        self._publish()

    def sampled(self, rows: list[Row]) -> None:
        """A readings message: what failed on which card."""
        for row in rows:
            record = self._records.get(GpuUuid(row["uuid"]))
            if record is not None:
                record.note(row["trouble"])
        self._publish()

    def hung(self, index: int, problem: str) -> None:
        """A call on the card at ``index`` did not return; it is left alone for a while."""
        for gpu in self._plain:
            if gpu.index == index:
                self._records[gpu.uuid].hung = problem
        self._publish()

    def blind(self, problem: str) -> None:
        """No card can be read, for a reason that is nobody's in particular."""
        self._blind = problem
        self._publish()

    def _note_opened(self, row: Row, gpu: Gpu | None) -> None:
        if gpu is None:
            return
        record = self._records[gpu.uuid]
        if "uuid" in row:
            record.lost = None
            record.hung = None
        elif row["trouble"]:
            symbol, code = row["trouble"][0]
            if treatment(code) in (Treatment.LOST, Treatment.SUSPECT):
                # "Unable to determine the device handle": a card that worked before and cannot be opened
                record.lost = f"it cannot be opened: {meaning(code)} ({symbol})"

    def _publish(self) -> None:
        judged = tuple(self._records[gpu.uuid].judge(gpu) for gpu in self._plain)
        if self._blind:
            judged = tuple(
                gpu if gpu.problem else replace(gpu, health=GpuHealth.DEGRADED, problem=self._blind)
                for gpu in judged
            )
        self.inventory = replace(self.inventory, gpus=judged, problem=self._blind or self._problem)

    def _numa_node(self, row: Row) -> int | None:
        """Linux says -1 where the platform has no NUMA."""
        if not row.get("pci_bus_id"):
            return None
        try:
            node = int((self._pci_devices / row["pci_bus_id"] / "numa_node").read_text())
        except (OSError, ValueError):
            return None
        return node if node >= 0 else None
