"""What whoever was asked for prices said then, for a replay: a script is not asked again about the past.

Owns which of the ledger's decisions are answers, and what the answer was. Does not own what becomes of it:
floor, minimum and maximum are those of the replay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from provider.core import pricing
from provider.core.admission import Accepted, Decision
from provider.core.asking import asked_by
from provider.core.ledger import Decided, Record
from provider.core.policy import Policy
from provider.domain.ids import OrderId
from provider.domain.market import Refusal, Refused
from provider.domain.money import Rate

NOT_ASKED = "it was not asked then"


class Answers(NamedTuple):
    """By order, the last of each."""

    prices: Mapping[OrderId, Rate]
    refusals: Mapping[OrderId, str]
    """The reason that was given."""


NOBODY = Answers(prices={}, refusals={})


def answers(records: Iterable[Record], policy: Policy) -> Answers:
    """Those of the one that ``policy`` would ask. Who made a price that was too high is not recorded: where
    others are known to be of that one, it is taken for its own, too."""
    prices: dict[OrderId, Rate] = {}
    too_high: dict[OrderId, Rate] = {}
    refusals: dict[OrderId, str] = {}
    for record in records:
        match record:
            case Decided(order=order, decision=Decision(verdict=Accepted() as verdict)):
                if verdict.parts and verdict.parts[0].what == asked_by(policy):
                    denom = verdict.bid.rate.denom
                    prices[order.id] = pricing.rate(verdict.parts[0].cost, policy.worth_of(denom), denom)
            case Decided(order=order, decision=Decision(verdict=Refused() as verdict)):
                if verdict.why is Refusal.PRICE_NOT_GIVEN:
                    refusals[order.id] = verdict.available
                elif verdict.why is Refusal.PRICE_TOO_LOW:
                    too_high[order.id] = Rate.parse(verdict.required.removesuffix("/block"))
            case _:
                pass
    return Answers(prices=too_high | prices if prices else {}, refusals=refusals)
