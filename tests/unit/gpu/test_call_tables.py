"""The tables of calls against the values that they fill: nothing is asked in vain, nothing is left out."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pynvml
import pytest

from provider.adapters.gpu import gpm, rows
from provider.adapters.gpu.identity import IDENTITY, INSTANCE_IDENTITY
from provider.adapters.gpu.nvml import IN_OUR_UNIT, Field, Group
from provider.adapters.gpu.sampling import FAST, INSTANCE, MEDIUM
from provider.domain.gpu import Gpu, GpuReading

GROUPS = {
    "identity": IDENTITY,
    "instance identity": INSTANCE_IDENTITY,
    "fast": FAST,
    "medium": MEDIUM,
    "instance": INSTANCE,
}
BY_THE_HOST = {"numa_node", "is_confidential", "is_confidential_ready"}
BY_THE_PROBE = {"uuid", "index", "model", "interface", "mig", "health", "problem", "simulated"}
BY_THE_PROBE |= {"is_inforom_corrupt", "is_reset_needed", "slow_call"}


def given(group: Group) -> set[str]:
    return {each.field for alternatives in group for way in alternatives for each in way.gives}


def names(kind: type) -> set[str]:
    return {each.name for each in dataclasses.fields(kind)}


def test_every_fact_of_a_card_is_asked_for() -> None:
    assert given(IDENTITY) == set(rows.CARD_FACTS) | {"name"}
    asked = set(rows.CARD_FACTS) | {"name"} | BY_THE_HOST | BY_THE_PROBE
    assert asked | {"load_watts"} == names(Gpu), "which the daemon measures"


def test_every_figure_of_a_reading_is_asked_for_in_one_group() -> None:
    ratios = {"sm_active_ratio", "tensor_active_ratio"}
    assert set(gpm._RATIOS.values()) == ratios
    assert given(FAST) | given(MEDIUM) | ratios | {"uuid", "at"} == names(GpuReading)
    assert given(FAST) & given(MEDIUM) == set()
    assert given(INSTANCE) <= given(FAST)


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
def test_units_are_known_and_names_of_calls_are_not_shared(group: Group) -> None:
    """A call that a card has not is remembered by its name: one name, one call."""
    ways = [way for alternatives in group for way in alternatives]
    assert {each.unit for way in ways for each in way.gives} <= set(IN_OUR_UNIT)
    shared = {name for name, count in Counter(way.symbol for way in ways).items() if count > 1}
    assert shared <= {"nvmlDeviceGetRemappedRows"}, "which is asked for four facts in the same way"


def test_numbered_fields_are_those_that_every_driver_branch_numbers_alike() -> None:
    fields = {way for group in GROUPS.values() for alternatives in group for way in alternatives}
    numbered = {way.symbol.removeprefix("field "): way.number for way in fields if isinstance(way, Field)}
    assert max(numbered.values()) <= 250
    ours = {"NVLINK_LINK_COUNT", "MEMORY_TEMP"} | set(numbered)
    assert {name: getattr(pynvml, f"NVML_FI_DEV_{name}") for name in ours} == numbered
