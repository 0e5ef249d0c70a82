"""What a market remembers, and nothing of what one decides: for tests of whatever links an agent to one.

Resources with versions, of which only the newest counts (an order closed replaces an order opened), and
what agents told, each message once. ``sim.link`` reads it in memory, ``sim.wire`` serves it over gRPC.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from provider.core.effects import Effect
from provider.core.events import LeaseAwarded, LeaseEnded, LeaseUpdated, OrderClosed, OrderOpened
from provider.domain.errors import Permanent
from provider.domain.ids import EffectId, LeaseId, OrderId
from provider.domain.market import Award, CloseReason, Order
from provider.domain.money import Rate

MarketEvent = OrderOpened | OrderClosed | LeaseAwarded | LeaseUpdated | LeaseEnded


class SimulatedMarket:
    """Of one provider. Every method is one commit."""

    def __init__(self, name: str = "sim") -> None:
        self.name = name
        self.version = 0
        self.epoch = 0
        self.told: dict[EffectId, Effect] = {}
        """What was taken in, in order; a repeat changes nothing."""
        self.heard: list[EffectId] = []
        """Everything that arrived, repeats too."""
        self.refusals: dict[EffectId, Permanent] = {}
        """What is to be refused, for good."""
        self._resources: dict[OrderId | LeaseId, MarketEvent] = {}
        self._updates: dict[LeaseId, LeaseUpdated] = {}
        """Beside the awards that they change."""
        self._watchers: list[Callable[[], None]] = []

    def next_epoch(self) -> int:
        self.epoch += 1
        return self.epoch

    def open_order(self, order: Order) -> None:
        self._change(order.id, OrderOpened(order=order, version=self.version + 1))

    def close_order(self, order: OrderId, won_at: Rate | None = None) -> None:
        self._change(order, OrderClosed(order=order, version=self.version + 1, won_at=won_at))

    def award(self, award: Award) -> None:
        self._change(award.id, LeaseAwarded(award=award, version=self.version + 1))

    def update(self, lease: LeaseId, manifest_hash: str) -> None:
        """Told after the award; an award that is told again brings the new hash itself."""
        awarded = self._resources[lease]
        assert isinstance(awarded, LeaseAwarded), "only what was awarded can be updated"
        award = replace(awarded.award, manifest_hash=manifest_hash)
        self._resources[lease] = replace(awarded, award=award)
        update = LeaseUpdated(lease=lease, manifest_hash=manifest_hash, version=self.version + 1)
        self._updates[lease] = update
        self._changed(update.version)

    def end_lease(self, lease: LeaseId, reason: CloseReason) -> None:
        self._updates.pop(lease, None)
        self._change(lease, LeaseEnded(lease=lease, reason=reason, version=self.version + 1))

    def since(self, version: int) -> tuple[MarketEvent, ...]:
        """What changed after ``version``, oldest first."""
        return tuple(
            sorted(
                (event for event in self._events() if event.version > version),
                key=lambda event: event.version,
            )
        )

    def take(self, effect: Effect) -> None:
        """An agent's message. Raises what ``refusals`` holds for it."""
        self.heard.append(effect.id)
        if effect.id in self.refusals:
            raise self.refusals[effect.id]
        self.told.setdefault(effect.id, effect)

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` after each change; returns what stops that."""
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    def _change(self, resource: OrderId | LeaseId, event: MarketEvent) -> None:
        self._resources[resource] = event
        self._changed(event.version)

    def _events(self) -> tuple[MarketEvent, ...]:
        return *self._resources.values(), *self._updates.values()

    def _changed(self, version: int) -> None:
        self.version = version
        for changed in tuple(self._watchers):
            changed()
