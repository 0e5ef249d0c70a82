"""The cards of this host as last known, kept up over the worker's messages, its silence and its death.

Owns what is remembered between messages (who was at which index, what holds against each card); the rules
are ``verdict``'s. Invariant: ``inventory`` changes only when something about a card or the host did.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from provider.adapters.gpu import rows, verdict
from provider.adapters.gpu.policy import RESET_REQUIRED, Treatment, meaning, treatment
from provider.adapters.gpu.rows import Row
from provider.adapters.gpu.settings import PCI_DEVICES
from provider.adapters.gpu.verdict import CardRecord
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
        self._absent: frozenset[str] = frozenset()
        """Places on the PCI bus of which the last inventory knew no card."""
        self._pci_devices = pci_devices

    def at_bus(self, bus_id: str) -> GpuUuid | None:
        """The whole card at ``0000:18:00``."""
        for gpu in self._plain:
            if gpu.mig is None and gpu.pci_bus_id and gpu.pci_bus_id.rpartition(".")[0] == bus_id:
                return gpu.uuid
        return None

    def read(self, message: dict[str, Any]) -> None:
        """An inventory message: cards and instances came, went, or could not be opened."""
        told: list[Row] = message["gpus"]
        cards = [row for row in told if rows.is_whole(row)]
        self._blind = None
        found = self._found(told, (message["is_confidential"], message["is_confidential_ready"]))
        unclear = {row["index"] for row in cards if "uuid" not in row}
        incomplete = unclear | {row["index"] for row in cards if row.get("has_unread_instances")}
        kept = {
            gpu.uuid: gpu
            for gpu in self._plain
            if gpu.uuid not in found and gpu.index in (unclear if gpu.mig is None else incomplete)
        }
        whole = {gpu.index: gpu for gpu in (*kept.values(), *found.values()) if gpu.mig is None}
        self._problem = verdict.nameless(cards, {gpu.index for gpu in kept.values() if gpu.mig is None})
        self._plain = tuple(sorted((found | kept).values(), key=_order))
        self._records = {gpu.uuid: self._records.get(gpu.uuid, CardRecord()) for gpu in self._plain}
        for row in cards:
            self._note_opened(row, whole.get(row["index"]))
        missing = max(0, len(message["pci"]) - message["count"])
        if missing and not self._problem:
            self._problem = f"{missing} of {len(message['pci'])} NVIDIA GPUs are not seen by the driver"
        self.inventory = replace(
            self.inventory,
            driver_version=message["driver_version"],
            cuda_version=rows.cuda_version(message["cuda_version"]),
            links=rows.links(message["links"]),
            missing=missing,
            unlisted=self._unlisted(message["pci"] if missing else []),
        )
        self._publish()

    def _unlisted(self, places: list[str]) -> tuple[str, ...]:
        """Those without a card now and at the last inventory: a card that is just being opened is no news."""
        before, self._absent = self._absent, frozenset(places) - {gpu.pci_bus_id for gpu in self._plain}
        return tuple(sorted(before & self._absent))

    def _found(self, told: list[Row], confidential: tuple[bool | None, bool | None]) -> dict[GpuUuid, Gpu]:
        """Those that could be opened; an instance has its card before it."""
        found: dict[GpuUuid, Gpu] = {}
        for row in told:
            if "uuid" not in row:
                continue
            if rows.is_whole(row):
                gpu = rows.card(row, self._numa_node(row), confidential)
            elif rows.is_placed(row):
                gpu = rows.instance(row, found[GpuUuid(row["parent"])])
            else:
                continue
            found[gpu.uuid] = gpu
        return found

    def sampled(self, samples: list[Row]) -> None:
        """A readings message: what failed on which card."""
        for row in samples:
            record = self._records.get(GpuUuid(row["uuid"]))
            if record is not None:
                record.note(row["trouble"], row["slow"])
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
            record.is_reset_needed = False
            record.hung = None
            if "is_inforom_corrupt" in row:
                record.is_corrupt = row["is_inforom_corrupt"]
        elif row["trouble"]:
            symbol, code = row["trouble"][0]
            record.is_reset_needed = code == RESET_REQUIRED
            if treatment(code) in (Treatment.LOST, Treatment.SUSPECT):
                # "Unable to determine the device handle": a card that worked before and cannot be opened
                record.lost = f"it cannot be opened: {meaning(code)} ({symbol})"

    def _publish(self) -> None:
        judged = tuple(
            self._records[gpu.uuid].judge(
                gpu,
                verdict.flaw(gpu, self._plain),
                self._records.get(gpu.mig.parent) if gpu.mig is not None else None,
            )
            for gpu in self._plain
        )
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


def _order(gpu: Gpu) -> tuple[int, int, int]:
    """A card, then its instances."""
    return (gpu.index, gpu.mig.gpu_instance, gpu.mig.compute_instance) if gpu.mig else (gpu.index, -1, -1)
