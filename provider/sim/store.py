"""The fake of ``ports.Store``: remembers in memory what a file would, through the same rows.

``restarted()`` is what the next process finds. Committed values pass through their JSON form, so a
value that the file could not hold is caught here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from provider.adapters.store import rows
from provider.core.effects import Effect
from provider.core.learning import WinCurve
from provider.core.policy import Policy
from provider.core.state import AgentState, Lease, OpenBid, WaitingOrder
from provider.core.step import Step
from provider.domain.gpu_health import GpuRecord
from provider.domain.idle import IdleRun
from provider.domain.ids import EffectId, LeaseId, OrderId


class MemoryStore:
    """``ports.Store`` without a file."""

    def __init__(self, policy: Policy) -> None:
        self._state = AgentState(policy=policy)
        self._effects: dict[EffectId, str] = {}

    def restarted(self, policy: Policy) -> MemoryStore:
        """What the next process finds, with a policy of its own."""
        store = MemoryStore(policy)
        store._state = replace(self._state, policy=policy)
        store._effects = dict(self._effects)
        return store

    def load(self) -> tuple[AgentState, tuple[Effect, ...]]:
        """What was committed, as a new process would read it."""
        stored = AgentState(
            policy=self._state.policy,
            bids={key: rows.row_value(rows.row_text(bid), OpenBid) for key, bid in self._state.bids.items()},
            leases={
                key: rows.row_value(rows.row_text(lease), Lease) for key, lease in self._state.leases.items()
            },
            orders={
                key: rows.row_value(rows.row_text(waiting), WaitingOrder)
                for key, waiting in self._state.orders.items()
            },
            markets={key: market.kept for key, market in self._state.markets.items()},
            gpu_records={
                key: rows.row_value(rows.row_text(record), GpuRecord)
                for key, record in self._state.gpu_records.items()
            },
            curves={
                key: rows.row_value(rows.row_text(curve), WinCurve)
                for key, curve in self._state.curves.items()
            },
            idle={key: rows.row_value(rows.row_text(run), IdleRun) for key, run in self._state.idle.items()},
            is_draining=self._state.is_draining,
        )
        return stored, tuple(rows.effect_value(text) for text in self._effects.values())

    def commit(self, steps: Sequence[Step]) -> None:
        """All of ``steps`` at once, or nothing of them."""
        effects = dict(self._effects)
        before = self._state
        for step in steps:
            _check_touched(before, step)
            before = step.state
            for effect in step.effects:
                assert effect.id not in effects, f"effect {effect.id} is wanted twice"
                effects[effect.id] = rows.effect_text(effect)
            for settled in step.settled:
                effects.pop(settled, None)
        if steps:
            self._state, self._effects = steps[-1].state, effects


def _check_touched(before: AgentState, step: Step) -> None:
    """A file writes what a step says that it touched, and nothing else."""
    after = step.state
    if step.touched is None:
        return
    for old, new in ((before.bids, after.bids), (before.leases, after.leases), (before.orders, after.orders)):
        if old is not new:
            _check_all_said(cast("Rows", old), cast("Rows", new), step.touched)


Rows = Mapping[LeaseId | OrderId, object]


def _check_all_said(old: Rows, new: Rows, touched: frozenset[LeaseId | OrderId]) -> None:
    for key in {*old, *new} - touched:
        assert old.get(key) == new.get(key), f"{key} changed and was not said to be touched"
