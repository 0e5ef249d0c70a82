"""Lanes: in order within one, side by side among them, and a stop overtakes a start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from provider.core.effects import ConfirmLease, Effect, ReportLease, StartWorkload, StopWorkload
from provider.core.events import Event, Failed, Performed
from provider.domain.ids import EffectId
from provider.domain.market import LeaseHealth
from provider.domain.workload import Launch
from provider.shell.lanes import Lanes
from provider.sim import vtime
from tests.agents import lease_of


def start(number: int, name: str = "start", generation: int = 1) -> StartWorkload:
    launch = Launch(lease=lease_of(number), generation=generation, replicas=())
    return StartWorkload(id=EffectId(f"{name} {number}"), launch=launch)


def stop(number: int) -> StopWorkload:
    return StopWorkload(id=EffectId(f"stop {number}"), lease=lease_of(number), grace_s=1)


def confirm(number: int) -> ConfirmLease:
    return ConfirmLease(id=EffectId(f"confirm {number}"), lease=lease_of(number))


def report(number: int) -> ReportLease:
    return ReportLease(id=EffectId(f"report {number}"), lease=lease_of(number), health=LeaseHealth.WAITING)


class Slow:
    """Takes ten seconds for everything, and writes down when it began and ended."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str]] = []

    def note(self, what: str) -> None:
        self.seen.append((asyncio.get_running_loop().time(), what))

    async def perform(self, effect: Effect) -> Performed | Failed:
        self.note(f"+{effect.id}")
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            self.note(f"x{effect.id}")
            raise
        self.note(f"-{effect.id}")
        return Performed(effect=effect)

    async def put(self, event: Event) -> None:
        assert isinstance(event, Performed | Failed)
        outcome = "done" if isinstance(event, Performed) else event.what
        self.note(f"{event.effect.id}: {outcome}")


Body = Callable[[Lanes, Slow], Coroutine[Any, Any, None]]


def lanes_with(body: Body) -> list[tuple[float, str]]:
    async def main() -> list[tuple[float, str]]:
        slow = Slow()
        async with asyncio.TaskGroup() as group:
            await body(Lanes(slow, slow.put, group), slow)
        return slow.seen

    return vtime.run(main())


def test_one_lane_keeps_its_order_and_puts_each_result_before_the_next_begins() -> None:
    async def body(lanes: Lanes, _: Slow) -> None:
        lanes.submit([confirm(1)])
        lanes.submit([report(1)])

    assert lanes_with(body) == [
        (0, "+confirm 1"),
        (10, "-confirm 1"),
        (10, "confirm 1: done"),
        (10, "+report 1"),
        (20, "-report 1"),
        (20, "report 1: done"),
    ]


def test_lanes_run_side_by_side() -> None:
    async def body(lanes: Lanes, _: Slow) -> None:
        lanes.submit([confirm(1), confirm(2), stop(1)])

    assert [seen for seen in lanes_with(body) if seen[1][0] in "+-"] == [
        (0, "+confirm 1"),
        (0, "+confirm 2"),
        (0, "+stop 1"),
        (10, "-confirm 1"),
        (10, "-confirm 2"),
        (10, "-stop 1"),
    ]


def test_a_stop_cancels_the_start_under_way() -> None:
    async def body(lanes: Lanes, _: Slow) -> None:
        lanes.submit([start(1), start(2)])
        await asyncio.sleep(4)
        lanes.submit([stop(1)])

    assert lanes_with(body) == [
        (0, "+start 1"),
        (0, "+start 2"),
        (4, "xstart 1"),
        (4, "start 1: something newer was wanted meanwhile"),
        (4, "+stop 1"),
        (10, "-start 2"),
        (10, "start 2: done"),
        (14, "-stop 1"),
        (14, "stop 1: done"),
    ]


def test_a_newer_start_cancels_the_older() -> None:
    """A tenant that mends its manifest does not wait for the pull of the broken one."""

    async def body(lanes: Lanes, _: Slow) -> None:
        lanes.submit([start(1)])
        await asyncio.sleep(4)
        lanes.submit([start(1, "newer", generation=2)])

    assert lanes_with(body) == [
        (0, "+start 1"),
        (4, "xstart 1"),
        (4, "start 1: something newer was wanted meanwhile"),
        (4, "+newer 1"),
        (14, "-newer 1"),
        (14, "newer 1: done"),
    ]


def test_a_start_that_still_waits_is_not_begun_before_its_stop() -> None:
    async def body(lanes: Lanes, _: Slow) -> None:
        lanes.submit([start(1), stop(1)])

    assert lanes_with(body) == [
        (0, "start 1: something newer was wanted before it started"),
        (0, "+stop 1"),
        (10, "-stop 1"),
        (10, "stop 1: done"),
    ]


def test_a_stop_leaves_a_start_alone_that_is_done_already() -> None:
    async def body(lanes: Lanes, _: Slow) -> None:
        lanes.submit([start(1)])
        await asyncio.sleep(11)
        lanes.submit([stop(1)])

    assert [what for _, what in lanes_with(body)] == [
        "+start 1",
        "-start 1",
        "start 1: done",
        "+stop 1",
        "-stop 1",
        "stop 1: done",
    ]


def test_a_start_after_a_stop_waits_for_it() -> None:
    async def body(lanes: Lanes, _: Slow) -> None:
        lanes.submit([stop(1), start(1)])

    assert [seen for seen in lanes_with(body) if seen[1][0] == "+"] == [(0, "+stop 1"), (10, "+start 1")]


def test_leaving_cancels_what_is_under_way_and_puts_no_result() -> None:
    async def main() -> list[tuple[float, str]]:
        slow = Slow()
        try:
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                Lanes(slow, slow.put, group).submit([start(1), confirm(1)])
        except TimeoutError:
            return slow.seen
        raise AssertionError("it should have been cut off")

    seen = vtime.run(main())
    assert sorted(seen[:2]) == [(0, "+confirm 1"), (0, "+start 1")]
    assert sorted(seen[2:]) == [(5, "xconfirm 1"), (5, "xstart 1")]
