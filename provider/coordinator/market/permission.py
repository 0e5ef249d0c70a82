"""Whether a tenant gets a token for its lease, and for what; and whether a tunnel to its provider."""

from __future__ import annotations

from provider.coordinator.book import Book
from provider.coordinator.denial import Denial, Denied
from provider.coordinator.rows import LeaseState
from provider.domain.ids import LeaseId, Owner

SCOPES = frozenset({"manifest", "status", "logs", "exec", "files", "restart"})
AFTERWARDS = frozenset({"status", "logs"})
"""Why it ended is worth a look for as long as its provider still has something of it."""


def token_denied(book: Book, owner: Owner, lease: LeaseId, scopes: frozenset[str]) -> Denied | None:
    """None for yes."""
    row = book.lease(lease)
    if row is None or lease.owner != owner:
        return Denied(why=Denial.LEASE_UNKNOWN, what=f"{owner} has no lease {lease}")
    if not scopes or scopes - SCOPES:
        return Denied(
            why=Denial.SCOPE_UNKNOWN,
            what=f"a lease token cannot be for {', '.join(sorted(scopes)) or 'nothing'}",
            remedy=f"ask for some of: {', '.join(sorted(SCOPES))}",
        )
    if row.state is LeaseState.ACTIVE or scopes <= AFTERWARDS:
        return None
    return Denied(
        why=Denial.LEASE_NOT_ACTIVE,
        what=f"the lease {lease} is {row.state}",
        remedy="see why with `tenant status`",
    )


def tunnel_denied(book: Book, owner: Owner, lease: LeaseId) -> Denied | None:
    """None for yes: as long as a token may be good for anything there."""
    row = book.lease(lease)
    if row is None or lease.owner != owner:
        return Denied(why=Denial.LEASE_UNKNOWN, what=f"{owner} has no lease {lease}")
    if row.state is LeaseState.CLOSED:
        return Denied(
            why=Denial.LEASE_NOT_ACTIVE,
            what=f"the lease {lease} is {row.state}",
            remedy="see why with `tenant status`",
        )
    return None
