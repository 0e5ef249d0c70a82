"""From the worker's messages to cards and whether they may be trusted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.adapters.gpu.policy import RETURN_CODES, UNREADABLE, Treatment, meaning, treatment
from provider.adapters.gpu.roster import Roster
from provider.adapters.gpu.rows import cuda_version, reading
from provider.domain.gpu import GpuHealth, GpuReading
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant

HEALTHY, DEGRADED, UNHEALTHY = GpuHealth.HEALTHY, GpuHealth.DEGRADED, GpuHealth.UNHEALTHY
CORRUPT, LOST, RESET, UNKNOWN = 14, 15, 16, 999


def opened(index: int, **facts: Any) -> dict[str, Any]:
    return {"index": index, "uuid": f"GPU-{index}", "name": "NVIDIA L4", "trouble": [], **facts}


def dead(index: int, code: int) -> dict[str, Any]:
    return {"index": index, "trouble": [["nvmlDeviceGetHandleByIndex_v2", code]]}


def inventory(*rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "gpus": list(rows),
        "count": len(rows),
        "pci": [],
        "links": [],
        "driver_version": "570.124.06",
        "cuda_version": 12080,
        "is_confidential": None,
        "is_confidential_ready": None,
    }


def sample(index: int, *codes: int, slow_s: float | None = None) -> dict[str, Any]:
    return {
        "index": index,
        "uuid": f"GPU-{index}",
        "trouble": [["nvmlDeviceGetName", code] for code in codes],
        "slow": None if slow_s is None else ["nvmlDeviceGetName", slow_s],
    }


def health(roster: Roster) -> list[GpuHealth]:
    return [gpu.health for gpu in roster.inventory.gpus]


def test_a_known_card_that_cannot_be_opened_stays_listed_and_is_unhealthy() -> None:
    roster = Roster()
    roster.read(inventory(opened(0), opened(1)))
    roster.read(inventory(opened(0), dead(1, UNKNOWN)))
    assert health(roster) == [HEALTHY, UNHEALTHY]
    assert roster.inventory.gpus[1].uuid == "GPU-1"
    assert roster.inventory.problem is None, "the card itself says what is wrong"
    roster.read(inventory(opened(0), opened(1)))
    assert health(roster) == [HEALTHY, HEALTHY]


def test_a_card_that_moved_is_listed_once() -> None:
    roster = Roster()
    roster.read(inventory(opened(0), opened(1)))
    roster.read(inventory(opened(1) | {"index": 0}, dead(1, LOST)))
    assert [(gpu.index, gpu.uuid) for gpu in roster.inventory.gpus] == [(0, "GPU-1")]
    assert roster.inventory.problem is not None


def test_lost_in_a_sample_is_unhealthy_until_it_is_opened_again() -> None:
    roster = Roster()
    roster.read(inventory(opened(0), opened(1)))
    roster.sampled([sample(0), sample(1, LOST)])
    assert health(roster) == [HEALTHY, UNHEALTHY]
    roster.sampled([sample(0)])
    assert health(roster) == [HEALTHY, UNHEALTHY]
    roster.read(inventory(opened(0), opened(1)))
    assert health(roster) == [HEALTHY, HEALTHY]


def test_three_bad_sweeps_in_a_row_degrade_and_three_good_ones_clear() -> None:
    roster = Roster()
    roster.read(inventory(opened(0)))
    told = []
    for codes in [(UNKNOWN,), (UNKNOWN,), (), (UNKNOWN,), (UNKNOWN,), (UNKNOWN,), (), (), ()]:
        roster.sampled([sample(0, *codes)])
        told += health(roster)
    assert told == [HEALTHY] * 5 + [DEGRADED] * 3 + [HEALTHY]


@given(st.lists(st.sampled_from([code for code, (_, how) in RETURN_CODES.items() if how is Treatment.SKIP])))
def test_what_is_skipped_never_counts_against_a_card(codes: list[int]) -> None:
    roster = Roster()
    roster.read(inventory(opened(0)))
    before = roster.inventory
    for code in codes:
        roster.sampled([sample(0, code)])
    assert roster.inventory == before


def test_blindness_degrades_and_never_more() -> None:
    roster = Roster()
    roster.read(inventory(opened(0), opened(1)))
    roster.sampled([sample(1, LOST)])
    roster.blind("NVML does not answer")
    assert health(roster) == [DEGRADED, UNHEALTHY]
    assert roster.inventory.gpus[1].problem != "NVML does not answer"
    roster.read(inventory(opened(0), opened(1)))
    assert health(roster) == [HEALTHY, HEALTHY]
    assert roster.inventory.problem is None


def test_an_empty_host_has_a_problem() -> None:
    roster = Roster()
    roster.read(inventory())
    assert roster.inventory.problem == "the NVIDIA driver is loaded but sees no GPU"
    assert roster.inventory.driver_version == "570.124.06"


def test_numa_node_comes_from_sysfs(tmp_path: Any) -> None:
    for bus_id, node in [("0000:18:00.0", "1\n"), ("0000:28:00.0", "-1\n")]:
        (tmp_path / bus_id).mkdir()
        (tmp_path / bus_id / "numa_node").write_text(node)
    roster = Roster(tmp_path)
    rows = [opened(0, pci_bus_id="0000:18:00.0"), opened(1, pci_bus_id="0000:28:00.0"), opened(2)]
    roster.read(inventory(*rows))
    assert [gpu.numa_node for gpu in roster.inventory.gpus] == [1, None, None]


def test_a_row_without_figures_is_a_reading_without_figures() -> None:
    assert reading(sample(0), Instant(7)) == GpuReading(uuid=GpuUuid("GPU-0"), at=Instant(7))


@pytest.mark.parametrize(("number", "text"), [(12080, "12.8"), (13000, "13.0"), (None, None)])
def test_cuda_version(number: int | None, text: str | None) -> None:
    assert cuda_version(number) == text


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (3, Treatment.ABSENT),
        (13, Treatment.ABSENT),
        (4, Treatment.SKIP),
        (15, Treatment.LOST),
        (16, Treatment.LOST),
        (18, Treatment.LIBRARY),
        (999, Treatment.SUSPECT),
        (UNREADABLE, Treatment.SKIP),
        (31337, Treatment.SUSPECT),
    ],
)
def test_every_code_has_a_treatment_and_words(code: int, how: Treatment) -> None:
    assert treatment(code) is how
    assert meaning(code)


# --- what is told beside health


def test_a_slow_call_is_told_until_five_sweeps_were_quick() -> None:
    roster = Roster()
    roster.read(inventory(opened(0), opened(1)))
    roster.sampled([sample(0, slow_s=2.44), sample(1)])
    for _ in range(4):
        assert [gpu.slow_call for gpu in roster.inventory.gpus] == ["nvmlDeviceGetName took 2.4 s", None]
        assert health(roster) == [HEALTHY, HEALTHY], "whether it is sold is the table's"
        roster.sampled([sample(0), sample(1)])
    roster.sampled([sample(0), sample(1)])
    assert roster.inventory.gpus[0].slow_call is None


def test_an_inforom_is_corrupt_by_its_check_or_by_any_calls_word() -> None:
    roster = Roster()
    roster.read(inventory(opened(0, is_inforom_corrupt=False), opened(1), opened(2, is_inforom_corrupt=True)))
    assert [gpu.is_inforom_corrupt for gpu in roster.inventory.gpus] == [False, None, True]
    roster.sampled([sample(0), sample(1, CORRUPT), sample(2)])
    roster.read(inventory(opened(0, is_inforom_corrupt=False), opened(1), opened(2)))
    assert [gpu.is_inforom_corrupt for gpu in roster.inventory.gpus] == [False, True, True]
    assert health(roster) == [HEALTHY, HEALTHY, HEALTHY]
    roster.read(inventory(opened(0), dead(1, CORRUPT), opened(2, is_inforom_corrupt=False)))
    assert [gpu.is_inforom_corrupt for gpu in roster.inventory.gpus] == [False, True, False]
    assert health(roster)[1] is HEALTHY, "it is not lost"


@pytest.mark.parametrize("code", [LOST, RESET])
def test_a_card_that_needs_a_reset_says_so(code: int) -> None:
    roster = Roster()
    roster.read(inventory(opened(0), opened(1)))
    roster.sampled([sample(0, code), sample(1)])
    roster.read(inventory(dead(0, code), dead(1, code)))
    assert [gpu.is_reset_needed for gpu in roster.inventory.gpus] == [code == RESET] * 2
    assert health(roster) == [UNHEALTHY, UNHEALTHY]
    roster.read(inventory(opened(0), opened(1)))
    assert [gpu.is_reset_needed for gpu in roster.inventory.gpus] == [False, False]


def test_a_place_without_its_card_is_told_at_the_second_look() -> None:
    places = {"pci": ["0000:18:00.0", "0000:28:00.0"]}
    one = opened(0, pci_bus_id="0000:18:00.0")
    both = inventory(one, opened(1, pci_bus_id="0000:28:00.0")) | places
    roster = Roster()
    for told, expected in (
        (inventory(one), ()),
        (inventory(one), ("0000:28:00.0",)),
        (both, ()),
        (inventory(one), ()),
        (inventory(one), ("0000:28:00.0",)),
    ):
        roster.read(told | places)
        assert roster.inventory.unlisted == expected
