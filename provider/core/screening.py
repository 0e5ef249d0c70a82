"""A dry run for those who might order: would we bid, at what price, if not why.

Owns the order that stands for theirs. Does not own the answer: that is ``admission``'s, so it cannot differ
from what the order would get at the same moment. Invariant: nothing is held and no state is made.
"""

from __future__ import annotations

from provider.core.admission import Accepted, consider
from provider.core.state import AgentState
from provider.domain.ids import HOME, MarketId, OrderId, Owner
from provider.domain.market import GroupSpec, Order, Refusal, Refused
from provider.domain.moment import Instant

OURS_ALONE = frozenset({Refusal.RUNTIME_UNFIT})
"""Refusals whose facts would tell a stranger where this machine is weak."""


def order_of(owner: Owner, group: GroupSpec, market: MarketId = HOME) -> Order:
    """The order that stands for one of ``owner``, as ``market`` names it, for ``group``."""
    order_id = OrderId(owner=owner, dseq=1, gseq=1, oseq=1).within(market)
    return Order(id=order_id, group=group, manifest_hash="")


def screen(order: Order, state: AgentState, at: Instant) -> Accepted | Refused:
    """What ``order`` would get now."""
    return consider(order, state, at)


def for_strangers(refused: Refused) -> Refused:
    """``refused`` as it may be told to anybody of the market."""
    return Refused(why=refused.why) if refused.why in OURS_ALONE else refused
