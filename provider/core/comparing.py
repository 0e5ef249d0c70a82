"""What a run of records comes to, order by order and in sum: what happened, or what a replay says would have.

Owns the counting, the same for both sides. Invariant: an order is counted once, by the last decision on it;
money is what leases that ended earned, to the micro-unit, and nothing is guessed into it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from provider.core.ledger import LIVE, OPEN, Began, Decided, Fate, Record, Turned
from provider.domain.ids import OrderId
from provider.domain.market import Refused
from provider.domain.money import Denom, Money, Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one order."""

    fate: Fate
    refused: Refused | None = None
    rate: Rate | None = None
    """Of the bid."""
    earned: Money | None = None
    """Once its lease has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    orders: int
    """On which something was decided."""
    reasons: Mapping[str, int]
    """Of those that were refused, by the reason's name, the most frequent first."""
    fates: Mapping[Fate, int]
    """Of those that were bid on."""
    earned: Mapping[Denom, int]
    """Micro-units, of leases that ended."""
    unknown_hour: Mapping[Denom, Decimal]
    """Micro-units an hour that the bids of unknown end would have come to, had all of them won."""

    @property
    def refused(self) -> int:
        return sum(self.reasons.values())

    @property
    def bids(self) -> int:
        return sum(self.fates.values())

    @property
    def won(self) -> int:
        return self.fates.get(Fate.WON, 0) + self.fates.get(Fate.ENDED, 0)

    @property
    def unknown(self) -> int:
        return self.fates.get(Fate.UNKNOWN, 0)

    @property
    def still_open(self) -> int:
        return sum(self.fates.get(fate, 0) for fate in OPEN)

    @property
    def lost(self) -> int:
        """Lost, expired, withdrawn or rejected."""
        return self.bids - self.won - self.unknown - self.still_open


@dataclass(slots=True)
class Account:
    """Records as they come, one after the other."""

    outcomes: dict[OrderId, Outcome] = field(default_factory=dict)
    earned: Counter[Denom] = field(default_factory=Counter)

    def take(self, record: Record) -> None:
        if isinstance(record, Decided):
            decision = record.decision
            self.outcomes[record.order.id] = Outcome(
                fate=record.fate, refused=decision.refused, rate=decision.rate
            )
        elif isinstance(record, Turned):
            self._turned(record)
        elif isinstance(record, Began):
            self._began(record)

    def _began(self, record: Began) -> None:
        """What was open and is not held any more has an end that nobody wrote down."""
        held = {each.order.id for each in record.held}
        for order, known in self.outcomes.items():
            if known.fate in LIVE and order not in held:
                self.outcomes[order] = replace(known, fate=Fate.UNKNOWN)

    def _turned(self, record: Turned) -> None:
        if record.earned is not None:
            self.earned[record.earned.denom] += record.earned.amount
        known = self.outcomes.get(record.order)
        if known is None or known.refused is not None:
            return  # decided before the first record that counts, or of a bid before the last refusal
        if record.fate is Fate.SUBMITTED and known.fate is not Fate.DECIDED:
            return
        self.outcomes[record.order] = replace(known, fate=record.fate, earned=record.earned)


def account(records: Iterable[Record]) -> Account:
    made = Account()
    for record in records:
        made.take(record)
    return made


def totals(of: Account) -> Totals:
    outcomes = of.outcomes.values()
    refused = Counter(each.refused.why.value for each in outcomes if each.refused is not None)
    bid_on = [each for each in outcomes if each.refused is None]
    unknown_hour: dict[Denom, Decimal] = {}
    for each in bid_on:
        if each.fate is Fate.UNKNOWN and each.rate is not None:
            so_far = unknown_hour.get(each.rate.denom, Decimal(0))
            unknown_hour[each.rate.denom] = so_far + each.rate.per_hour()
    return Totals(
        orders=len(of.outcomes),
        reasons=dict(refused.most_common()),
        fates=Counter(each.fate for each in bid_on),
        earned=dict(of.earned),
        unknown_hour=unknown_hour,
    )
