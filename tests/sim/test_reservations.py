"""Thousands of orders against one agent, with competitors, lost and doubled messages, sick cards and kill -9.

What is held is always the sum of what is open, and nothing once all is over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from provider.core.agent import next_due, transition
from provider.core.bid_policy import BidPolicy
from provider.core.effects import ConfirmLease, Effect, PlaceBid, RefuseLease, StopWorkload, WithdrawBid
from provider.core.events import (
    Event,
    Failed,
    LeaseAwarded,
    LeaseEnded,
    OrderClosed,
    OrderOpened,
    Performed,
    TimeReached,
)
from provider.core.state import holdings, sum_of_holdings
from provider.core.step import BidEnded
from provider.domain.gpu import GpuHealth, GpuInventory
from provider.domain.ids import EffectId, LeaseId, NodeName
from provider.domain.market import Award, Bid, CloseReason
from provider.domain.moment import MINUTE, SECOND, Instant, Span
from provider.domain.node import Node
from provider.domain.resources import GpuAsk
from provider.sim import checkers
from provider.sim.store import MemoryStore
from tests import boxes
from tests.agents import (
    HASH,
    POLICY,
    PROVIDER,
    ROOMY,
    START,
    ask,
    group,
    nodes_read,
    order,
    resources,
    unit,
)

ORDERS = 1_000
"""Of each of the four markets."""
SHAPES = (
    group(),
    group(unit(resources(gpus=ask(2)))),
    group(unit(resources(gpus=ask(4)))),
    group(unit(resources(), count=2)),
    group(unit(resources(gpus=GpuAsk(), cpu_millis=2_000))),
    group(unit(price="0.1")),
)


class Auction:
    """The market as the agent sees it, and everything that goes wrong in between."""

    def __init__(self, seed: int, overbid: int) -> None:
        self.random = Random(seed)  # noqa: S311 - a test's chance
        policy = replace(
            POLICY,
            bids=BidPolicy(overbid=overbid, bids_per_minute=60),
            port_range=(31000, 31199),
            bid_lifetime=Span(20 * SECOND),
        )
        self.store = MemoryStore(policy)
        self.state, _ = self.store.load()
        self.at, self.version, self.next_order = START, 0, 1
        self.wanted: dict[EffectId, Effect] = {}
        self.bids: dict[LeaseId, Bid] = {}
        """That have reached the market."""
        self.open: set[int] = set()
        self.leased: set[LeaseId] = set()
        self.told: list[Event] = []
        self.outcomes: Counter[str] = Counter()
        self.inventory = boxes.hgx_h100()
        self.read()

    # --- the agent

    def take(self, event: Event) -> None:
        step = transition(self.state, event, self.at)
        self.store.commit([step])
        self.state = step.state
        self.wanted |= {effect.id: effect for effect in step.effects}
        for settled in step.settled:
            self.wanted.pop(settled, None)
        self.outcomes.update(note.outcome for note in step.notes if isinstance(note, BidEnded))
        checkers.gpus_are_held_once(self.state)
        checkers.holdings_are_the_sum(self.state)

    def read(self) -> None:
        self.take(nodes_read(Node(name=NodeName("node"), capacity=ROOMY, inventory=self.inventory)))

    def crashes(self) -> None:
        """kill -9: what was stored is what there is."""
        self.store = self.store.restarted(self.state.policy)
        self.state, unfinished = self.store.load()
        self.wanted = {effect.id: effect for effect in unfinished}
        assert holdings(self.state) == sum_of_holdings(self.state)
        self.read()

    def wakes(self) -> None:
        due = next_due(self.state)
        if due is not None and due <= self.at:
            self.take(TimeReached())

    # --- the market

    def tells(self, event: Event) -> None:
        """In order, for that is the link's promise; some come twice."""
        self.told.append(event)
        self.take(event)
        if self.random.random() < 0.1:
            self.take(self.random.choice(self.told[-20:]))

    def _next(self) -> int:
        self.version += 1
        return self.version

    def opens(self) -> None:
        number, self.next_order = self.next_order, self.next_order + 1
        self.open.add(number)
        self.tells(OrderOpened(order=order(number, self.random.choice(SHAPES)), version=self._next()))

    def closes(self, number: int) -> None:
        """Somebody else won it, or its tenant lost patience."""
        self.open.discard(number)
        self.bids.pop(order(number).id.lease(PROVIDER), None)
        self.tells(OrderClosed(order=order(number).id, version=self._next()))

    def awards(self, lease: LeaseId) -> None:
        bid = self.bids.pop(lease)
        self.open.discard(lease.dseq)
        award = Award(id=lease, rate=bid.rate, manifest_hash=HASH, confirm_by=Instant(self.at + 10_000))
        self.tells(LeaseAwarded(award=award, version=self._next()))

    def ends(self, lease: LeaseId) -> None:
        self.leased.discard(lease)
        self.tells(LeaseEnded(lease=lease, reason=CloseReason.TENANT_CLOSED, version=self._next()))

    def performs(self, effect: Effect) -> None:
        """It reaches the market or the engine, or not; its answer comes back, or not."""
        if self.random.random() < 0.15:
            return
        match effect:
            case PlaceBid(bid=bid) if bid.id.dseq not in self.open or self.random.random() < 0.05:
                self.take(Failed(effect=effect, what="not taken", is_final=True))
                return
            case PlaceBid(bid=bid):
                self.bids[bid.id] = bid
            case WithdrawBid(bid=lease):
                self.bids.pop(lease, None)
            case ConfirmLease(lease=lease):
                self.leased.add(lease)
            case RefuseLease() | StopWorkload():
                pass
            case _:
                pass
        if self.random.random() > 0.15:
            self.take(Performed(effect=effect))

    # --- what happens

    def goes_on(self) -> None:
        self.at = Instant(self.at + self.random.randint(1, 2 * SECOND))
        self.wakes()
        chance = self.random.random()
        if chance < 0.25 and self.next_order <= ORDERS:
            self.opens()
        elif chance < 0.6 and self.wanted:
            self.performs(self.random.choice(list(self.wanted.values())))
        elif chance < 0.68 and self.bids:
            self.awards(self.random.choice(sorted(self.bids)))
        elif chance < 0.88 and self.open:
            self.closes(self.random.choice(sorted(self.open)))
        elif chance < 0.97 and self.leased:
            self.ends(self.random.choice(sorted(self.leased)))
        elif chance < 0.98:
            self.crashes()
        elif chance < 0.99:
            self.falls_ill()

    def falls_ill(self) -> None:
        """A card, or gets well."""
        number = self.random.randrange(8)
        health = self.random.choice((GpuHealth.DEGRADED, *[GpuHealth.HEALTHY] * 3, GpuHealth.UNHEALTHY))
        gpus = list(self.inventory.gpus)
        gpus[number] = replace(gpus[number], health=health, problem="XID 79")
        self.inventory = GpuInventory(gpus=tuple(gpus), links=self.inventory.links)
        self.read()

    def is_over(self) -> None:
        """Every order closes, every lease ends, every message arrives."""
        for number in sorted(self.open):
            self.closes(number)
        for _ in range(50):
            for lease in sorted(self.state.leases):
                self.ends(lease)
            for effect in list(self.wanted.values()):
                self.performs(effect)
            self.at = Instant(self.at + MINUTE)
            self.wakes()


@pytest.mark.parametrize(("seed", "overbid"), [(1, 1), (2, 1), (3, 2), (4, 4)])
def test_reservations_return_to_zero(seed: int, overbid: int) -> None:
    auction = Auction(seed, overbid)
    while auction.next_order <= ORDERS:
        auction.goes_on()
    assert {"won", "lost", "rejected", "withdrawn", "expired"} <= set(auction.outcomes), auction.outcomes
    assert auction.outcomes["won"] > 20
    auction.is_over()
    assert (auction.state.bids, auction.state.leases, auction.state.orders) == ({}, {}, {})
    assert holdings(auction.state) == {}
    stored, unfinished = auction.store.load()
    assert (holdings(stored), unfinished) == ({}, ())
