"""Deposits of bids: taken with the bid, given back when it is over, or when its lease is settled.

What a bid costs who never means it. Invariant: a bid's account holds what was taken for it as long as it is
open, awarded or a lease that is not settled, and nothing before and after that.
"""

from __future__ import annotations

from dataclasses import replace

from provider.coordinator.denial import Denied
from provider.coordinator.escrow import Transfer, bid_account, provider_account
from provider.coordinator.market.draft import Draft, must
from provider.coordinator.rows import BidRow


def taken(draft: Draft, row: BidRow) -> Draft | Denied:
    """The same with the market's deposit for ``row`` held. A bid that is placed anew has another number."""
    amount, provider = draft.rules.bid_deposit, row.bid.id.provider
    if not amount:
        return draft
    denom = row.bid.rate.denom
    held = draft.moved(
        Transfer(
            subject=f"bid:{row.bid.id}",
            number=row.number,
            source=provider_account(provider, denom),
            target=bid_account(row.bid.id, denom),
            amount=amount,
            at=draft.at,
        )
    )
    if isinstance(held, Denied):
        return replace(
            held,
            what=f"a bid takes a deposit of {amount}{denom}, and the account of {provider} has less",
            remedy=f"ask the market's owner: coordinator fund --provider {provider} {amount}{denom}",
        )
    return held


def given_back(draft: Draft, row: BidRow) -> Draft:
    """The same with what is held for ``row`` on its provider's account again; nothing where nothing is."""
    denom = row.bid.rate.denom
    account = bid_account(row.bid.id, denom)
    amount = draft.book.ledger.balance(account)
    if not amount:
        return draft
    return must(
        draft.moved(
            Transfer(
                subject=f"unbid:{row.bid.id}",
                number=row.number,
                source=account,
                target=provider_account(row.bid.id.provider, denom),
                amount=amount,
                at=draft.at,
            )
        )
    )
