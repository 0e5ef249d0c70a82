"""Each row of the health table: just below its threshold, at it, and how it goes away again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provider.app import health_table
from provider.core.events import GpuUncordoned
from provider.core.gpu_records import looked_at
from provider.core.health import HealthSettings, clears_words, health_of, problem_of, table
from provider.core.health_row import Action, Clears, Stops
from provider.core.health_rows import ROWS
from provider.domain.gpu import GpuHealth
from provider.domain.gpu_health import GpuSignal
from provider.domain.ids import GpuUuid
from provider.domain.moment import HOUR, MINUTE, SECOND
from provider.domain.resources import MIB
from tests.agents import gpu, node, nodes_read
from tests.cards import Card
from tests.health_cases import BY_INVENTORY, CASES, COOL, HOLD, HOT, Case, Facts

S = GpuSignal
ROW = {row.signal: row for row in ROWS}
NAMES = [f"{case.signal}-{number}" for number, case in enumerate(CASES)]


def card_of(case: Case) -> Card:
    card = Card(replace(gpu(0), **{"name": "NVIDIA H100 80GB HBM3", **case.card}))
    if case.first:
        card.look(**case.first)
    return card


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_what_is_fine_raises_nothing_however_long(case: Case) -> None:
    card = card_of(case)
    card.looks_for(12 * MINUTE, **case.fine)
    assert case.signal not in card.signals


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_threshold_is_reached_after_its_time_and_not_before(case: Case) -> None:
    card = card_of(case)
    card.agent.passes(SECOND)
    if case.after:
        card.look(**case.bad)
        card.looks_for(case.after - SECOND, **case.bad)
        assert case.signal not in card.signals, "one second too early"
        card.agent.passes(SECOND)
    card.look(**case.bad)
    assert case.signal in card.signals
    assert card.now() is ROW[case.signal].state
    (active,) = [each for each in card.record.active if each.signal is case.signal]
    assert active.since == card.agent.at
    assert active.detail
    assert card.record.history[-1].is_raised


@pytest.mark.parametrize("case", [case for case in CASES if case.after], ids=lambda case: case.signal)
def test_what_is_interrupted_counts_from_the_beginning(case: Case) -> None:
    card = card_of(case)
    for _ in range(3):
        card.look(**case.bad)
        card.looks_for(case.after - SECOND, **case.bad)
        card.agent.passes(SECOND)
        card.look(**case.fine)
    assert case.signal not in card.signals


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_a_signal_goes_once_the_opposite_has_held(case: Case) -> None:
    card = card_of(case)
    card.look(**case.bad)
    card.looks_for(case.after + EVERY_MOST, **case.bad)
    assert case.signal in card.signals
    card.agent.passes(SECOND)
    card.look(**case.fine)
    if case.clears_after is None:
        card.looks_for(30 * MINUTE, **case.fine)
        assert case.signal in card.signals, "it does not go by itself"
        return
    card.looks_for(case.clears_after - SECOND, **case.fine)
    still = case.signal in card.signals
    card.looks_for(2 * MINUTE, **case.fine)  # a window's last sample is a minute old by then
    assert case.signal not in card.signals
    assert still, "not before its time"


EVERY_MOST = 5 * SECOND


@pytest.mark.parametrize(("signal", "bad", "fine", "after"), BY_INVENTORY)
def test_what_the_inventory_says_is_taken_at_once_and_held(
    signal: GpuSignal, bad: Facts, fine: Facts, after: int
) -> None:
    card = Card()
    card.look()
    assert signal not in card.signals
    card.becomes(**bad)
    card.look()
    assert signal in card.signals
    assert card.now() is GpuHealth.DEGRADED
    card.becomes(**fine)
    card.looks_for(after)
    assert card.now() is GpuHealth.DEGRADED
    card.looks_for(EVERY_MOST)
    assert card.now() is GpuHealth.HEALTHY


def test_a_card_that_is_gone_is_missing_and_well_when_it_is_back() -> None:
    card = Card(gpu(0), gpu(1))
    card.look()
    card.agent.take(nodes_read(node(gpu(1))))
    card.looks_for(15 * SECOND, is_told=False)
    assert card.signals == {S.GPU_MISSING}
    card.agent.take(nodes_read(node(gpu(0), gpu(1))))
    assert card.now() is GpuHealth.DEGRADED
    card.looks_for(HOLD + EVERY_MOST)
    assert card.now() is GpuHealth.HEALTHY


def test_a_card_that_vanished_while_nobody_looked_is_missed_until_the_operator_says_that_it_is_gone() -> None:
    card = Card(gpu(0), gpu(1))
    card.agent.take(nodes_read(node(gpu(1))))
    again = Card(gpu(1))
    again.uuid, again.agent.state, again.agent.at = card.uuid, card.agent.state, card.agent.at
    again.looks_for(15 * SECOND, is_told=False)
    assert again.signals == {S.GPU_MISSING}
    again.agent.take(GpuUncordoned(gpu=card.uuid))
    again.looks_for(15 * SECOND, is_told=False)
    assert again.signals == set()
    again.agent.take(nodes_read(node(gpu(0), gpu(1))))
    again.agent.take(nodes_read(node(gpu(1))))
    again.looks_for(15 * SECOND, is_told=False)
    assert again.signals == {S.GPU_MISSING}, "it came back, and is waited for again"


def test_a_corrupt_inforom_is_the_operators_to_forgive() -> None:
    card = Card(replace(gpu(0), is_inforom_corrupt=False))
    card.look()
    assert card.signals == set()
    card.becomes(is_inforom_corrupt=True)
    card.look()
    assert (card.signals, card.now()) == ({S.INFOROM_CORRUPT}, GpuHealth.DEGRADED)
    card.becomes(is_inforom_corrupt=None)
    card.looks_for(HOUR)
    assert card.signals == {S.INFOROM_CORRUPT}
    card.agent.take(GpuUncordoned(gpu=card.uuid))
    card.look()
    assert card.signals == set()


def test_a_place_whose_card_the_driver_does_not_list_has_a_record_of_its_own() -> None:
    card = Card()
    (there,) = card.agent.state.nodes_as_read
    short = replace(there, inventory=replace(there.inventory, missing=1, unlisted=("0000:38:00.0",)))
    card.agent.take(nodes_read(short))
    assert list(looked_at(card.agent.state)) == ["GPU-0", "PCI-0000:38:00.0"]
    place, card.uuid = card.uuid, GpuUuid("PCI-0000:38:00.0")
    card.look(is_told=False, is_unlisted=True)
    assert card.signals == {S.GPU_UNLISTED}
    assert health_of(card.record) is GpuHealth.UNHEALTHY
    card.agent.take(nodes_read(there))
    assert looked_at(card.agent.state)[card.uuid] == (None, False), "it is still looked at"
    card.looks_for(HOLD, is_told=False, is_unlisted=False)
    assert card.signals == {S.GPU_UNLISTED}
    card.looks_for(EVERY_MOST, is_told=False, is_unlisted=False)
    assert card.signals == set()
    assert list(looked_at(card.agent.state)) == [place]


def test_heat_that_comes_and_goes_counts_by_how_often() -> None:
    card = Card()
    for _ in range(5):
        card.look(clock_reasons=HOT)
        card.agent.passes(EVERY_MOST)
        card.look(clock_reasons=COOL)
        card.agent.passes(EVERY_MOST)
    assert card.signals == set()
    card.look(clock_reasons=HOT)
    assert card.signals == {S.HW_THERMAL}


def test_nvlink_errors_are_forgiven_an_hour_after_the_last() -> None:
    card = Card()
    card.look(nvlink_replays=0)
    card.agent.passes(SECOND)
    card.look(nvlink_replays=11)
    assert card.signals == {S.NVLINK_ERRORS}
    card.looks_for(HOUR, nvlink_replays=11)
    assert card.signals == {S.NVLINK_ERRORS}
    card.looks_for(HOUR + 3 * MINUTE, nvlink_replays=11)
    assert card.signals == set()


def test_crc_errors_count_by_the_second() -> None:
    card = Card()
    card.look(nvlink_crc_errors=0)
    card.agent.passes(30 * SECOND)
    card.look(nvlink_crc_errors=6000)
    assert card.signals == set()
    card.agent.passes(SECOND)
    card.look(nvlink_crc_errors=6001)
    assert card.signals == {S.NVLINK_ERRORS}


def test_a_counter_that_begins_again_is_no_error() -> None:
    card = Card()
    card.look(pcie_replays=1000, ecc_uncorrected=7, ecc_corrected=9000)
    card.agent.passes(SECOND)
    card.look(pcie_replays=0, ecc_uncorrected=0, ecc_corrected=0)
    card.looks_for(MINUTE, pcie_replays=5, ecc_uncorrected=0, ecc_corrected=5)
    assert card.signals == set()
    assert card.record.ecc_uncorrected == 0


def test_a_counter_that_rises_slowly_is_no_error() -> None:
    card = Card()
    for minute in range(60):
        card.look(pcie_replays=5 * minute)
        card.agent.passes(30 * SECOND)
        card.look(pcie_replays=5 * minute + 2)
        card.agent.passes(30 * SECOND)
    assert card.signals == set()


def test_an_uncorrected_error_is_compared_over_a_restart() -> None:
    card = Card()
    card.look(ecc_uncorrected=3)
    again = Card()
    again.agent.state = card.agent.state
    again.agent.at = card.agent.at
    again.looks_for(10 * SECOND, ecc_uncorrected=4)
    assert again.signals == {S.UNCORRECTED_ECC}


def test_an_uncorrected_error_that_was_contained_is_that_and_no_more() -> None:
    card = Card()
    card.look(ecc_uncorrected=0)
    card.agent.passes(SECOND)
    card.look(ecc_uncorrected=1)
    card.fails(94)
    card.looks_for(MINUTE, ecc_uncorrected=1)
    assert card.signals == {S.CONTAINED_ECC}
    card.looks_for(2 * MINUTE, ecc_uncorrected=2)
    assert S.UNCORRECTED_ECC in card.signals, "the next one is not excused by it"


def test_a_link_is_narrow_only_under_load() -> None:
    card = Card(replace(gpu(0), pcie_width_most=16))
    card.looks_for(10 * MINUTE, pcie_width=8, utilization_ratio=0.19)
    assert card.signals == set()


def test_a_gap_between_looks_begins_every_span_anew() -> None:
    card = Card()
    card.look(is_fabric_ready=False)
    card.agent.passes(5 * MINUTE)  # the machine slept, or its clock was set
    card.look(is_fabric_ready=False)
    assert card.signals == set()
    card.looks_for(MINUTE, is_fabric_ready=False)
    assert card.signals == {S.FABRIC_NOT_READY}


def test_silence_is_no_proof_of_recovery() -> None:
    card = Card()
    card.looks_for(2 * MINUTE, is_fabric_ready=False)
    card.looks_for(2 * MINUTE, is_fabric_ready=True)
    card.looks_for(10 * SECOND, is_told=False)
    card.looks_for(4 * MINUTE, is_fabric_ready=True)
    assert S.FABRIC_NOT_READY in card.signals
    card.looks_for(MINUTE + EVERY_MOST, is_fabric_ready=True)
    assert S.FABRIC_NOT_READY not in card.signals


def test_what_a_card_does_not_tell_says_nothing() -> None:
    card = Card()
    card.looks_for(20 * MINUTE, strangers=None)
    assert card.signals == set()
    assert card.now() is GpuHealth.HEALTHY


def test_heat_is_judged_only_where_the_operator_wants_it() -> None:
    rows = table(HealthSettings(judges_heat=False))
    card = Card(replace(gpu(0), shutdown_celsius=95.0, slowdown_celsius=90.0), rows=rows)
    card.looks_for(20 * MINUTE, clock_reasons=HOT, temperature_celsius=99.0)
    assert card.signals == set()


def test_simulated_memory_is_not_taken_for_somebodys() -> None:
    card = Card(replace(gpu(0), simulated=True))
    card.looks_for(20 * MINUTE, memory_used_bytes=30_000 * MIB, strangers=None, utilization_ratio=1.0)
    assert card.signals == set()


def test_the_hold_time_is_the_operators() -> None:
    card = Card(rows=table(HealthSettings(hold=MINUTE)))
    card.look(is_remap_pending=True)
    card.looks_for(MINUTE, is_remap_pending=False)
    card.looks_for(EVERY_MOST, is_remap_pending=False)
    assert card.signals == set()


# --- the table itself


def test_operators_are_shown_this_table() -> None:
    page = health_table.PAGE.read_text(encoding="utf-8")
    assert health_table.put_into(page) == page, "put it in anew: python -m provider.app.health_table"


def test_every_signal_has_one_row() -> None:
    assert sorted(row.signal for row in ROWS) == sorted(GpuSignal)


def test_every_row_says_what_it_sees_and_how_it_goes() -> None:
    for row in ROWS:
        assert row.seen, row.signal
        assert row.clears_words, row.signal
        assert (row.clears in {Clears.QUIET, Clears.QUIET_OR_REBOOT}) == bool(row.cleared_by), row.signal
        assert bool(row.triggers) or row.clears not in {Clears.QUIET}, f"{row.signal} would never clear"


def test_every_row_that_looks_at_readings_is_tried_here() -> None:
    tried = {case.signal for case in CASES} | {signal for signal, *_ in BY_INVENTORY}
    tried |= {S.GPU_MISSING, S.GPU_UNLISTED, S.INFOROM_CORRUPT}  # above
    tried |= {S.AWAITING_CHECK}  # in test_gpu_upkeep
    assert {row.signal for row in ROWS if row.triggers} == tried


def test_blindness_is_degraded_at_worst() -> None:
    blind = (S.PROBE_TROUBLE, S.PROBE_SLOW, S.TELEMETRY_LOST, S.GPU_MISSING)
    assert {ROW[signal].action for signal in blind} == {Action.DRAIN}


def test_what_stops_a_whole_host() -> None:
    assert {row.signal: row.stops for row in ROWS if row.stops is not Stops.NEVER} == {
        S.REBOOT_NEEDED: Stops.ONE,
        S.REBOOT_ADVISED: Stops.ONE,
        S.POWER_BRAKE: Stops.TWO,
        S.TELEMETRY_LOST: Stops.EVERY,
    }


def test_a_card_is_as_bad_as_its_worst_signal() -> None:
    card = Card()
    card.look(is_remap_pending=True)
    assert health_of(card.record) is GpuHealth.DEGRADED
    card.look(is_remap_pending=True, is_remap_failed=True)
    assert health_of(card.record) is GpuHealth.UNHEALTHY
    assert (problem_of(card.record) or "").startswith("remap failed: ")
    card.agent.take(GpuUncordoned(gpu=card.uuid))
    assert (health_of(card.record), problem_of(card.record)) == (GpuHealth.HEALTHY, None)
    assert clears_words(S.REMAP_FAILED) == "`provider gpus uncordon`"
