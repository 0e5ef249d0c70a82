"""What happens to one lease: it is settled as its usage comes, it ends for one reason, it is closed for good.

ACTIVE becomes CLOSING with exactly one reason, the first that is given; CLOSING becomes CLOSED when the final
usage came, or was awaited long enough. Paid is what the workload ran, as reported, never more than the time
between confirmation and end on this side's clock, and never more than escrow holds.
"""

from __future__ import annotations

from dataclasses import replace

from provider.coordinator import record
from provider.coordinator.denial import Denial, Denied
from provider.coordinator.escrow import Transfer, due, escrow_account, provider_account
from provider.coordinator.market.bid_deposits import given_back
from provider.coordinator.market.draft import Draft, must
from provider.coordinator.rows import Done, LeaseRow, LeaseState, LeaseUnknown
from provider.domain.ids import LeaseId, ProviderId
from provider.domain.market import CloseReason, LeaseHealth, Usage
from provider.domain.moment import after
from provider.domain.money import Money, earned


def settled(draft: Draft, row: LeaseRow, usage: Usage) -> Draft:
    """The same with what ``usage`` adds paid to the provider."""
    until = row.closed_at if row.closed_at is not None else draft.at
    running_ms = max(row.running_ms, min(usage.running_ms, until - row.confirmed_at))
    escrow = escrow_account(row.id.deployment, row.rate.denom)
    amount = due(row.rate, running_ms, row.settled, draft.book.ledger.balance(escrow))
    if amount > 0:
        draft = must(
            draft.moved(
                Transfer(
                    subject=f"settle:{row.id}",
                    number=usage.number,
                    source=escrow,
                    target=provider_account(row.id.provider, row.rate.denom),
                    amount=amount,
                    at=draft.at,
                )
            )
        )
    runs = row.accrues_from is not None or running_ms > row.running_ms
    return draft.put(
        replace(
            row,
            usage_number=usage.number,
            running_ms=running_ms,
            settled=row.settled + amount,
            usage_final=row.usage_final or usage.is_final,
            accrues_from=draft.at if runs and row.state is LeaseState.ACTIVE else None,
        )
    )


def closing(draft: Draft, row: LeaseRow, reason: CloseReason) -> Draft:
    """The same with an active lease ending for ``reason``; one that ends already keeps its reason."""
    if row.state is not LeaseState.ACTIVE:
        return draft
    ending = replace(
        row,
        state=LeaseState.CLOSING,
        reason=reason,
        closed_at=draft.at,
        settle_by=after(draft.at, draft.rules.usage_within),
        accrues_from=None,
        version=draft.next_version,
    )
    draft = draft.put(ending)
    draft = draft.recorded(record.lease_closed(record.lease_name(row.id, draft.book.salt), reason))
    return closed(draft, ending) if row.usage_final else draft


def closed(draft: Draft, row: LeaseRow) -> Draft:
    """The same with the lease settled for good."""
    draft = draft.put(
        replace(row, state=LeaseState.CLOSED, settle_by=None, health=LeaseHealth.CLOSED, ports=())
    )
    bid = draft.book.bid(row.id)
    draft = draft if bid is None else given_back(draft, bid)
    paid = Money(amount=row.settled, denom=row.rate.denom)
    name = record.lease_name(row.id, draft.book.salt)
    return draft.recorded(record.lease_settled(name, row.running_ms, paid))


def is_spent(draft: Draft, row: LeaseRow) -> bool:
    """Whether the lease has used up what was held for it."""
    escrow = escrow_account(row.id.deployment, row.rate.denom)
    return not draft.book.ledger.balance(escrow) and earned(row.rate, row.running_ms).amount > 0


def unknown(draft: Draft, lease: LeaseId, provider: ProviderId) -> tuple[Draft, Done] | Denied:
    """A provider is told that its lease is not one; somebody else's is none of its business."""
    if lease.provider != provider:
        return Denied(why=Denial.LEASE_UNKNOWN, what=f"{provider} has no lease {lease}")
    return draft.put(LeaseUnknown(lease=lease, version=draft.next_version)), Done()
