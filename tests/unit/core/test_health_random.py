"""What holds of GPUs' health whatever happens: random looks, errors, operators and markets."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from provider.core.effects import StartWorkload, StopWorkload
from provider.core.events import GpuCordoned, GpuUncordoned
from provider.core.lease import Phase
from provider.core.step import GpuSignalMoved, LeaseMoved, Step
from provider.domain.gpu import GpuHealth
from provider.domain.gpu_health import GpuSignal
from provider.domain.moment import MINUTE, SECOND
from provider.domain.resources import MIB
from tests.agents import gpu, healthy, node, nodes_read, settle
from tests.cards import CAREFUL, Card, running

HOLD = 5 * MINUTE
FACTS = st.fixed_dictionaries(
    {},
    optional={
        "is_remap_pending": st.booleans(),
        "is_remap_failed": st.sampled_from([False, False, False, True]),
        "ecc_uncorrected": st.integers(0, 2),
        "recovery_action": st.integers(0, 7),
        "is_fabric_ready": st.booleans(),
        "memory_used_bytes": st.sampled_from([0, 2000 * MIB]),
        "strangers": st.sampled_from([None, (), ("process 42",)]),
        "is_told": st.sampled_from([True, True, True, False]),
    },
)
XIDS = st.sampled_from([13, 31, 43, 48, 63, 94, 62, 74, 79, 151, 32, 999])
DEEDS = st.one_of(
    st.tuples(st.just("look"), FACTS),
    st.tuples(st.just("look"), FACTS),
    st.tuples(st.just("fault"), XIDS),
    st.tuples(st.just("operator"), st.sampled_from([GpuCordoned, GpuUncordoned])),
    st.tuples(st.just("becomes"), st.sampled_from(GpuHealth)),
    st.tuples(st.just("opens"), st.none()),
    st.tuples(st.just("awards"), st.none()),
    st.tuples(st.just("ends"), st.none()),
    st.tuples(st.just("passes"), st.integers(1, 400)),
)


class Life:
    """One agent with two cards, the first of which has a hard time."""

    def __init__(self) -> None:
        self.card = Card(*healthy(0, 1), policy=CAREFUL)
        self.number = 0
        take = self.card.agent.take

        def checked(event: Any) -> Step:
            step = take(event)
            self.check(step)
            return step

        self.card.agent.take = checked  # type: ignore[method-assign]  # every step is looked at

    def check(self, step: Step) -> None:
        well = {
            each.uuid for node in step.state.nodes for each in node.gpus if each.health is GpuHealth.HEALTHY
        }
        for bid in step.state.bids.values():
            assert well.issuperset(bid.placement.gpus), "a bid stands on a card that is not well"
        for note in step.notes:
            if isinstance(note, LeaseMoved) and note.before is None:
                assert well.issuperset(step.state.leases[note.lease].placement.gpus), "a lease begins on one"
        failed = {
            each.uuid for node in step.state.nodes for each in node.gpus if each.health is GpuHealth.UNHEALTHY
        }
        for lease in step.state.leases.values():
            if failed.intersection(lease.placement.gpus):
                assert lease.phase is Phase.STOPPING, "a lease goes on with a card that failed"

    def do(self, deed: str, what: Any) -> None:
        agent = self.card.agent
        match deed:
            case "look":
                self.card.look(**{"strangers": (), **what})
            case "fault":
                self.card.fails(what)
            case "operator":
                agent.take(what(gpu=self.card.uuid))
            case "becomes":
                self.card.becomes(
                    health=what, problem=None if what is GpuHealth.HEALTHY else "a test says so"
                )
            case "opens":
                self.number += 1
                agent.opens(self.number)
            case "awards":
                for bid in list(agent.state.bids):
                    agent.awards(bid.dseq)
            case "ends":
                for lease in list(agent.state.leases):
                    agent.ends(lease.dseq)
                settle(agent, StartWorkload, StopWorkload)
            case _:
                agent.passes(what * SECOND)


@settings(max_examples=150)
@given(st.lists(DEEDS, max_size=40))
def test_nothing_sick_is_ever_sold(deeds: list[tuple[str, Any]]) -> None:
    life = Life()
    for deed, what in deeds:
        life.do(deed, what)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30)), max_size=120))
def test_a_flapping_signal_moves_once_a_hold_time(flaps: list[tuple[bool, int]]) -> None:
    """It comes at once; it goes after its hold time, however often it looks well in between."""
    card = Card()
    for is_bad, seconds in flaps:
        card.look(is_remap_pending=is_bad)
        card.agent.passes(seconds * SECOND)
    moves = [note.line for note in card.agent.notes if isinstance(note, GpuSignalMoved)]
    assert [line.is_raised for line in moves] == [number % 2 == 0 for number in range(len(moves))]
    came = [line.at for line in moves if line.is_raised]
    went = [line.at for line in moves if not line.is_raised]
    for before, after in zip(came, went, strict=False):
        assert after - before >= HOLD
    for before, after in pairwise(went):
        assert after - before >= HOLD


BLIND = st.one_of(
    st.just("silent"),
    st.just("degraded"),
    st.just("unknown"),
    st.just("gone"),
    st.just("back"),
    st.just("seen"),
)


@settings(max_examples=100)
@given(st.lists(st.tuples(BLIND, st.integers(1, 59)), max_size=60))
def test_blindness_never_ends_a_lease(blindness: list[tuple[str, int]]) -> None:
    card = running(0)
    for kind, seconds in blindness:
        match kind:
            case "silent":
                card.look(is_told=False)
            case "degraded":
                card.becomes(health=GpuHealth.DEGRADED, problem="NVML hangs")
            case "unknown":
                card.becomes(health=GpuHealth.UNKNOWN, problem="nobody knows")
            case "gone":
                card.agent.take(nodes_read(node()))
                card.look(is_told=False)
            case "back":
                card.agent.take(nodes_read(node(gpu(0))))
            case _:
                card.look()
        card.agent.passes(seconds * SECOND)
    assert card.agent.lease().phase is Phase.RUNNING
    assert card.signals <= {GpuSignal.TELEMETRY_LOST, GpuSignal.PROBE_TROUBLE, GpuSignal.GPU_MISSING}
