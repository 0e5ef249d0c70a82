"""The market's denials as errors on the wire, in one table."""

from __future__ import annotations

from typing import TypeVar

from grpc import StatusCode

from provider.coordinator import denial
from provider.coordinator.denial import Denial
from provider.coordinator.market.requests import Reply
from provider.rpc import status

Answer = TypeVar("Answer")

CODES: dict[Denial, StatusCode] = {
    # google/rpc/code.proto: INVALID_ARGUMENT is wrong whatever the market's state, FAILED_PRECONDITION now.
    Denial.AMOUNT_INVALID: StatusCode.INVALID_ARGUMENT,
    Denial.ACCOUNTS_INVALID: StatusCode.INVALID_ARGUMENT,
    Denial.TRANSFER_DIFFERS: StatusCode.ALREADY_EXISTS,
    Denial.TRANSFER_OUTDATED: StatusCode.FAILED_PRECONDITION,
    Denial.FUNDS_SHORT: StatusCode.FAILED_PRECONDITION,
    Denial.MEMBER_UNKNOWN: StatusCode.PERMISSION_DENIED,
    Denial.INVITE_UNKNOWN: StatusCode.PERMISSION_DENIED,
    Denial.INVITE_EXPIRED: StatusCode.PERMISSION_DENIED,
    Denial.INVITE_USED: StatusCode.PERMISSION_DENIED,
    Denial.MARKET_DIFFERS: StatusCode.FAILED_PRECONDITION,
    Denial.VERSION_AHEAD: StatusCode.FAILED_PRECONDITION,
    Denial.DEPLOYMENT_UNKNOWN: StatusCode.NOT_FOUND,
    Denial.DEPLOYMENT_ENDED: StatusCode.FAILED_PRECONDITION,
    Denial.DEPOSIT_SMALL: StatusCode.INVALID_ARGUMENT,
    Denial.GROUPS_INVALID: StatusCode.INVALID_ARGUMENT,
    Denial.DENOM_DIFFERS: StatusCode.INVALID_ARGUMENT,
    Denial.HASH_INVALID: StatusCode.INVALID_ARGUMENT,
    Denial.GROUPS_DIFFER: StatusCode.FAILED_PRECONDITION,
    Denial.ORDER_UNKNOWN: StatusCode.NOT_FOUND,
    Denial.ORDER_NOT_OPEN: StatusCode.FAILED_PRECONDITION,
    Denial.BID_UNKNOWN: StatusCode.NOT_FOUND,
    Denial.BID_EXISTS: StatusCode.ALREADY_EXISTS,
    Denial.BID_ENDED: StatusCode.FAILED_PRECONDITION,
    Denial.BID_WON: StatusCode.FAILED_PRECONDITION,
    Denial.BIDS_FULL: StatusCode.FAILED_PRECONDITION,
    Denial.PRICE_ABOVE_MAX: StatusCode.INVALID_ARGUMENT,
    Denial.GPUS_DIFFER: StatusCode.INVALID_ARGUMENT,
    Denial.ESCROW_EMPTY: StatusCode.FAILED_PRECONDITION,
    Denial.LEASE_UNKNOWN: StatusCode.NOT_FOUND,
    Denial.LEASE_NOT_ACTIVE: StatusCode.FAILED_PRECONDITION,
    Denial.REASON_INVALID: StatusCode.INVALID_ARGUMENT,
    Denial.SCOPE_UNKNOWN: StatusCode.INVALID_ARGUMENT,
    Denial.NAME_INVALID: StatusCode.INVALID_ARGUMENT,
    Denial.KEY_REUSED: StatusCode.ALREADY_EXISTS,
}


def error_of(denied: denial.Denied) -> status.Denied:
    """The same as an exception that a servicer raises."""
    return status.Denied(CODES[denied.why], denied.why.name, denied.what, remedy=denied.remedy)


def granted(reply: Reply, kind: type[Answer]) -> Answer:
    """``reply``, which is a ``kind`` unless it is a denial: that is raised."""
    if isinstance(reply, denial.Denied):
        raise error_of(reply)
    assert isinstance(reply, kind), f"{reply} is not the answer to what was asked"
    return reply
