"""Money that markets hold of this provider's accounts for its bids, and the operator's limit of it. Pure.

A market takes a deposit with each bid and gives it back when the bid is over; of a bid that has won, when its
lease is. Owns what that comes to in the operator's currency. Does not own the money: the market's book does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal

from provider.core.remembered import by_identity
from provider.core.state import AgentState, Lease
from provider.domain.ids import LeaseId, MarketId
from provider.domain.market import Order, Refusal, Refused
from provider.domain.money import Denom

MICRO_DIGITS = 6


def refusal(order: Order, state: AgentState, budget: Decimal) -> Refused | None:
    """None where a bid on ``order`` stays within ``budget``, or its market takes no deposits."""
    deposit = state.market(order.id.market).bid_deposit
    if not deposit:
        return None
    more = deposit * state.policy.worth_of(order.group.max_rate.denom)
    left = budget - locked(state)
    if more <= left:
        return None
    return Refused(
        why=Refusal.DEPOSIT_BUDGET_SPENT,
        required=f"{_whole(more)} in deposits",
        available=f"{_whole(max(left, Decimal(0)))} left of {_whole(budget)}",
    )


def locked(state: AgentState) -> Decimal:
    """Of all bids that are open and all leases, micro-units of the operator's currency."""
    held = Counter(_of_leases(state.leases))
    held.update((bid.market, each.bid.rate.denom) for bid, each in state.bids.items())
    return sum(
        (
            count * state.market(market).bid_deposit * state.policy.worth_of(denom)
            for (market, denom), count in held.items()
        ),
        start=Decimal(0),
    )


@by_identity(most=4)
def _of_leases(leases: Mapping[LeaseId, Lease]) -> Mapping[tuple[MarketId, Denom], int]:
    return Counter((lease.market, each.rate.denom) for lease, each in leases.items())


def _whole(micros: Decimal) -> str:
    return f"{micros.scaleb(-MICRO_DIGITS).normalize():f}"
