"""A step in the making: what the parts of one transition add to it.

The one mutable thing in the core, and it lives no longer than one call of ``agent.transition``.
"""

from __future__ import annotations

from dataclasses import replace

from provider.core.effects import Effect
from provider.core.state import AgentState, Lease, OpenBid
from provider.core.step import Note, Step
from provider.domain.ids import EffectId, LeaseId
from provider.domain.market import Refused


class Draft:
    """Collects state, effects and notes in order."""

    def __init__(self, state: AgentState) -> None:
        self.state = state
        self.refused: Refused | None = None
        self.capacity_changed = False
        """Something was given back or found: orders that were refused are worth another look."""
        self._effects: list[Effect] = []
        self._settled: list[EffectId] = []
        self._notes: list[Note] = []

    def want(self, effect: Effect) -> None:
        self._effects.append(effect)

    def settle(self, effect: EffectId) -> None:
        self._settled.append(effect)

    def note(self, note: Note) -> None:
        self._notes.append(note)

    def put_bid(self, bid: OpenBid) -> None:
        self.state = replace(self.state, bids={**self.state.bids, bid.bid.id: bid})

    def drop_bid(self, lease_id: LeaseId) -> None:
        bids = {key: bid for key, bid in self.state.bids.items() if key != lease_id}
        self.state = replace(self.state, bids=bids)
        self.capacity_changed = True

    def put_lease(self, lease: Lease) -> None:
        self.state = replace(self.state, leases={**self.state.leases, lease.id: lease})

    def drop_lease(self, lease_id: LeaseId) -> None:
        leases = {key: lease for key, lease in self.state.leases.items() if key != lease_id}
        self.state = replace(self.state, leases=leases)
        self.capacity_changed = True

    def bid_effect_id(self, lease_id: LeaseId) -> EffectId:
        """The next effect's id of an open bid."""
        bid = self.state.bids[lease_id]
        self.put_bid(replace(bid, effects_issued=bid.effects_issued + 1))
        return EffectId(f"{lease_id}@{bid.version}#{bid.effects_issued + 1}")

    def lease_effect_id(self, lease_id: LeaseId) -> EffectId:
        """The next effect's id of a lease."""
        lease = self.state.leases[lease_id]
        self.put_lease(replace(lease, effects_issued=lease.effects_issued + 1))
        return EffectId(f"{lease_id}@{lease.version}#{lease.effects_issued + 1}")

    def step(self) -> Step:
        return Step(
            state=self.state,
            effects=tuple(self._effects),
            settled=tuple(self._settled),
            notes=tuple(self._notes),
            refused=self.refused,
        )
