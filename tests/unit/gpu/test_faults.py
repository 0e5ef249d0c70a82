"""Errors from two sources: each once, with what both know, and none lost for the lack of the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from provider.adapters.gpu.faults import KEPT_MOST, FaultDesk, Source
from provider.domain.gpu import GpuFault
from provider.domain.ids import GpuUuid
from provider.domain.moment import Instant

AT = 1_000_000
SEEN = GpuFault(uuid=GpuUuid("GPU-1"), xid=94, at=Instant(AT), gpu_instance=5)
LOGGED = replace(SEEN, gpu_instance=None, pid=7, process="python3")
HOLD_S = 0.02


def told(body: Callable[[FaultDesk], None]) -> list[GpuFault]:
    """What one who listens from the beginning hears, up to another error that is held longer than any."""
    last = replace(SEEN, xid=0)

    async def run() -> list[GpuFault]:
        desk = FaultDesk()
        heard = desk.follow()
        body(desk)
        desk.hear(last, Source.NVML, 2 * HOLD_S)
        faults = []
        async with asyncio.timeout(10):
            while (fault := await anext(heard)) != last:
                faults.append(fault)
        return faults

    return asyncio.run(run())


def test_twins_are_one_error_with_what_both_know() -> None:
    both = replace(SEEN, pid=7, process="python3")

    def nvml_first(desk: FaultDesk) -> None:
        desk.hear(SEEN, Source.NVML, HOLD_S)
        desk.hear(LOGGED, Source.KERNEL, HOLD_S)

    def kernel_first(desk: FaultDesk) -> None:
        desk.hear(LOGGED, Source.KERNEL, HOLD_S)
        desk.hear(SEEN, Source.NVML, HOLD_S)

    assert told(nvml_first) == [both]
    assert told(kernel_first) == [both]


def test_a_twin_that_comes_late_is_not_another_error() -> None:
    def body(desk: FaultDesk) -> None:
        desk.hear(SEEN, Source.NVML, 0)
        desk.hear(replace(LOGGED, at=Instant(AT + 5000)), Source.KERNEL, HOLD_S)

    assert told(body) == [SEEN]


def test_what_only_one_of_them_tells_is_told() -> None:
    def body(desk: FaultDesk) -> None:
        desk.hear(SEEN, Source.NVML, HOLD_S)

    assert told(body) == [SEEN]


def test_others_are_no_twins() -> None:
    other = [
        replace(LOGGED, at=Instant(AT + 5001)),
        replace(LOGGED, xid=79),
        replace(LOGGED, uuid=GpuUuid("GPU-2")),
    ]

    def body(desk: FaultDesk) -> None:
        desk.hear(SEEN, Source.NVML, 0)
        for fault in other:
            desk.hear(fault, Source.KERNEL, 0)

    assert told(body) == [SEEN, *other]


def test_the_same_error_again_is_another() -> None:
    def body(desk: FaultDesk) -> None:
        for _ in range(2):
            desk.hear(SEEN, Source.NVML, 0)
        for _ in range(3):
            desk.hear(LOGGED, Source.KERNEL, 0)

    assert told(body) == [SEEN, SEEN, LOGGED], "two pairs, and one that the driver did not tell"


def test_who_is_too_slow_misses_the_oldest_and_goes_on() -> None:
    async def run() -> list[int]:
        desk = FaultDesk()
        heard = desk.follow()
        for number in range(KEPT_MOST + 10):
            desk.hear(replace(SEEN, xid=number), Source.NVML, 0)
        first = await anext(heard)
        for number in range(KEPT_MOST):
            desk.hear(replace(SEEN, xid=1000 + number), Source.NVML, 0)
        return [first.xid, (await anext(heard)).xid]

    assert asyncio.run(run()) == [10, 1000]


events = st.lists(st.tuples(st.sampled_from(Source), st.integers(0, 2), st.integers(0, 20_000)), max_size=30)


@given(events)
def test_none_is_lost_and_none_is_told_twice(heard: list[tuple[Source, int, int]]) -> None:
    """As many of each number as the source that tells more of it does, at least; at most all of them."""

    async def run() -> list[int]:
        desk = FaultDesk()
        told = desk.follow()
        for source, xid, at in heard:
            desk.hear(replace(SEEN, xid=xid, at=Instant(at)), source, 0)
        return [(await anext(told)).xid for _ in range(desk.count)]

    told = asyncio.run(run())
    for xid in range(3):
        by_source = [sum(source is each and number == xid for source, number, _ in heard) for each in Source]
        assert max(by_source) <= told.count(xid) <= sum(by_source)
