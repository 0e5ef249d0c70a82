"""The lease machine's tables: every pair of phase and trigger has exactly one meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from provider.app import lease_diagram
from provider.core.lease import MOVES, STALE, IllegalMove, Phase, Trigger, target

PAIRS = [(phase, trigger) for phase in Phase for trigger in Trigger]
DOC = Path("docs/lease.md")


@pytest.mark.parametrize(("phase", "trigger"), PAIRS, ids=lambda value: value.value)
def test_every_pair_is_legal_stale_or_illegal(phase: Phase, trigger: Trigger) -> None:
    legal, stale = trigger in MOVES[phase], (phase, trigger) in STALE
    assert not (legal and stale)
    if legal:
        assert target(phase, trigger) is MOVES[phase][trigger]
    elif stale:
        assert target(phase, trigger) is None
    else:
        with pytest.raises(IllegalMove, match=f"a lease that is {phase} cannot be moved by {trigger}"):
            target(phase, trigger)


def test_the_table_has_every_phase() -> None:
    assert set(Phase) == set(MOVES)


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_can_reach_closed(phase: Phase) -> None:
    reached, left = {phase}, [phase]
    while left:
        for after in MOVES[left.pop()].values():
            if after not in reached:
                reached.add(after)
                left.append(after)
    assert Phase.CLOSED in reached


def test_every_phase_is_reached_from_the_award() -> None:
    reached, left = {Phase.AWARDED}, [Phase.AWARDED]
    while left:
        for after in MOVES[left.pop()].values():
            if after not in reached:
                reached.add(after)
                left.append(after)
    assert set(Phase) == reached


def test_nothing_leaves_closed_and_only_a_removal_leads_there() -> None:
    assert MOVES[Phase.CLOSED] == {}
    into = {
        (phase, trigger)
        for phase, moves in MOVES.items()
        for trigger in moves
        if moves[trigger] is Phase.CLOSED
    }
    assert {(Phase.STOPPING, Trigger.STOPPED)} == into


def test_every_live_phase_can_be_ended() -> None:
    live = [phase for phase in Phase if phase not in {Phase.STOPPING, Phase.CLOSED}]
    assert [Phase.STOPPING] * len(live) == [MOVES[phase].get(Trigger.END) for phase in live]


def test_the_page_is_made_from_the_table() -> None:
    assert DOC.read_text(encoding="utf-8") == lease_diagram.page(), (
        "make it anew: python -m provider.app.lease_diagram"
    )
