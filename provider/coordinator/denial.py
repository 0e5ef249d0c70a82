"""Why the market says no: one name a reason, with the facts in one line and the way out in another.

A denial is a value. What was asked changed nothing, and asking again is answered afresh.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Denial(StrEnum):
    # the ledger
    AMOUNT_INVALID = "amount_invalid"
    ACCOUNTS_INVALID = "accounts_invalid"
    TRANSFER_DIFFERS = "transfer_differs"
    """The same id was used for another transfer."""
    TRANSFER_OUTDATED = "transfer_outdated"
    """A later transfer of the same subject was made already."""
    FUNDS_SHORT = "funds_short"
    # members
    MEMBER_UNKNOWN = "member_unknown"
    INVITE_UNKNOWN = "invite_unknown"
    INVITE_EXPIRED = "invite_expired"
    INVITE_USED = "invite_used"
    MARKET_DIFFERS = "market_differs"
    VERSION_AHEAD = "version_ahead"
    """The agent remembers a later change than the market has made."""
    # deployments
    DEPLOYMENT_UNKNOWN = "deployment_unknown"
    DEPLOYMENT_ENDED = "deployment_ended"
    DEPOSIT_SMALL = "deposit_small"
    GROUPS_INVALID = "groups_invalid"
    DENOM_DIFFERS = "denom_differs"
    HASH_INVALID = "hash_invalid"
    GROUPS_DIFFER = "groups_differ"
    """An update asks for other resources than were ordered."""
    # bids
    ORDER_UNKNOWN = "order_unknown"
    ORDER_NOT_OPEN = "order_not_open"
    BID_UNKNOWN = "bid_unknown"
    BID_EXISTS = "bid_exists"
    BID_ENDED = "bid_ended"
    BID_WON = "bid_won"
    BIDS_FULL = "bids_full"
    PRICE_ABOVE_MAX = "price_above_max"
    GPUS_DIFFER = "gpus_differ"
    ESCROW_EMPTY = "escrow_empty"
    # leases
    LEASE_UNKNOWN = "lease_unknown"
    LEASE_NOT_ACTIVE = "lease_not_active"
    REASON_INVALID = "reason_invalid"
    SCOPE_UNKNOWN = "scope_unknown"
    # anything
    NAME_INVALID = "name_invalid"
    KEY_REUSED = "key_reused"
    """The same idempotency key came with another request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denied:
    """A denial with its facts. ``what`` is one line; ``remedy``, where there is one, another."""

    why: Denial
    what: str
    remedy: str | None = None
