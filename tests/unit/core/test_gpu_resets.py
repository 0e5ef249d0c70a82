"""Resets: how one is noticed that the operator made, what it ends, and what he is told to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from provider.core.health import RESETTABLE, ROW, clears_words
from provider.core.health_row import Clears
from provider.core.remedies import remedy
from provider.domain.gpu import Gpu, GpuHealth, MigSlice
from provider.domain.gpu_health import ActiveSignal, GpuRecord, GpuSignal
from provider.domain.ids import GpuUuid
from provider.domain.moment import HOUR, MINUTE, SECOND
from tests.agents import START, gpu, lease_of
from tests.cards import Card, running

S = GpuSignal
WHOLE = replace(gpu(3), pci_bus_id="0000:18:00.0")


def failed(xid: int, **facts: Any) -> Card:
    """A card that was read, and then reported an error."""
    card = Card()
    card.look(is_persistent=True, **facts)
    card.fails(xid)
    card.agent.passes(SECOND)
    return card


@pytest.mark.parametrize(
    ("xid", "signal"),
    [
        (32, S.SUSPECT_XID),
        (94, S.CONTAINED_ECC),
        (62, S.RESET_NEEDED),
        (999, S.UNKNOWN_XID),
        (74, S.NVLINK_FAULT),
    ],
)
def test_a_reset_ends_what_the_table_says(xid: int, signal: GpuSignal) -> None:
    card = failed(xid, energy_joules=9e6)
    card.look(is_persistent=True, energy_joules=9e6 + 70)
    assert card.signals == {signal}
    card.agent.passes(SECOND)
    card.look(is_persistent=True, energy_joules=40.0)
    assert (card.signals, card.now()) == (set(), GpuHealth.HEALTHY)
    assert card.record.history[-1].detail == "it was reset: its counters began again"
    assert card.record.reset_at == card.agent.at


def test_a_reset_does_not_end_what_it_cannot_cure() -> None:
    card = failed(79, energy_joules=9e6)
    card.fails(64)
    card.look(is_persistent=True, energy_joules=40.0)
    assert card.signals == {S.GPU_LOST, S.REMAP_FAILED}


def test_an_uncorrectable_error_is_over_with_the_reset() -> None:
    card = failed(48, ecc_uncorrected=3)
    card.looks_for(10 * SECOND, is_persistent=True, ecc_uncorrected=4)
    assert card.signals == {S.UNCORRECTED_ECC}
    card.agent.passes(SECOND)
    card.look(is_persistent=True, ecc_uncorrected=0)
    card.looks_for(MINUTE, is_persistent=True, ecc_uncorrected=0)
    assert card.signals == set()


def test_without_persistence_mode_counters_say_nothing() -> None:
    """The last one who leaves the card makes them begin again: a restart of the daemon is enough."""
    for is_persistent in (False, None):
        card = failed(62, energy_joules=9e6)
        card.look(is_persistent=is_persistent, energy_joules=40.0)
        card.agent.passes(SECOND)
        card.look(is_persistent=True, energy_joules=41.0)
        assert S.RESET_NEEDED in card.signals


def test_a_card_that_somebody_has_was_not_reset() -> None:
    card = running()
    card.look(is_persistent=True, energy_joules=9e6)
    card.fails(32)
    card.agent.passes(SECOND)
    card.look(is_persistent=True, energy_joules=40.0)
    assert card.signals == {S.SUSPECT_XID}


def test_what_comes_again_after_a_reset_is_the_operators() -> None:
    card = failed(62, energy_joules=9e6)
    card.look(is_persistent=True, energy_joules=40.0)
    card.agent.passes(HOUR)
    card.fails(119)
    assert card.signals == {S.RESET_NEEDED, S.XID_REPEATED}


def test_energy_is_kept_each_time_that_it_doubled() -> None:
    card = Card()
    kept = []
    for second in range(2_000):
        card.agent.passes(SECOND)
        if card.look(energy_joules=70.0 * second).energy_joules is not None:
            kept.append(second)
    assert len(kept) < 14


# --- what to do


def record(*signals: GpuSignal) -> GpuRecord:
    active = tuple(ActiveSignal(signal=each, since=START, detail="advises a reset") for each in signals)
    return GpuRecord(uuid=WHOLE.uuid, active=active)


@pytest.mark.parametrize("signal", [each for each in GpuSignal if each is not S.CORDONED])
def test_what_does_not_go_by_itself_has_a_remedy(signal: GpuSignal) -> None:
    told = remedy(record(signal), WHOLE)
    if ROW[signal].clears is not Clears.QUIET:
        assert any(line.startswith("$ ") for line in told), clears_words(signal)
    assert not any("None" in line for line in told)


def test_a_reset_is_told_command_by_command() -> None:
    for signal in RESETTABLE:
        told = remedy(record(signal), WHOLE)
        assert [line for line in told if line.startswith("$ ")] == [
            "$ systemctl stop provider",
            "$ nvidia-smi --gpu-reset -i 0000:18:00.0",
            "$ systemctl start provider",
            "$ provider gpus uncordon 3",
        ]


def test_a_lease_goes_first_and_a_fabric_is_named() -> None:
    told = remedy(record(S.RESET_NEEDED), WHOLE, lease=lease_of(), is_switched=True)
    assert told[1] == f"$ provider close {lease_of()}"
    assert any("NVSwitches" in line for line in told)


def test_where_a_reboot_is_needed_nobody_is_told_to_reset() -> None:
    told = remedy(record(S.RESET_NEEDED, S.GPU_LOST), WHOLE)
    assert "$ reboot" in told
    assert "$ lspci -s 0000:18:00.0; dmesg | grep 0000:18:00" in told
    assert not any("gpu-reset" in line for line in told)


def test_a_card_that_is_gone_and_a_place_are_named_as_they_can_be() -> None:
    gone = replace(record(S.GPU_MISSING))
    assert f"$ provider gpus uncordon {gone.uuid}" in remedy(gone, None)
    place = replace(record(S.GPU_UNLISTED), uuid=GpuUuid("PCI-0000:38:00.0"))
    assert "$ lspci -s 0000:38:00.0; dmesg | grep 0000:38:00" in remedy(place, None)
    lost = replace(record(S.GPU_LOST))
    assert not any("lspci" in line for line in remedy(lost, None)), "nobody knows its place"


def test_an_instance_is_named_by_its_uuid() -> None:
    mig = MigSlice(parent=WHOLE.uuid, profile="1g.10gb", gpu_instance=7, compute_instance=0)
    part: Gpu = replace(WHOLE, uuid=GpuUuid("MIG-1"), mig=mig)
    held = replace(record(S.APP_FAULTS), uuid=part.uuid)
    assert "$ provider gpus uncordon MIG-1" in remedy(held, part)
