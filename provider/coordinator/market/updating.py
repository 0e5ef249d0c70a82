"""Another manifest for a deployment that goes on: same groups, same leases, same bill.

What was ordered (resources, counts, prices, requirements) never changes; an update that asks for other
groups is denied. The new hash is told to every lease's provider, in the order of the market's changes and
never before the award; whoever is awarded later is told of it with the award.
"""

from __future__ import annotations

from dataclasses import replace

from provider import sdl
from provider.coordinator import record
from provider.coordinator.denial import Denial, Denied
from provider.coordinator.market.deployments import HASH, owned
from provider.coordinator.market.draft import Draft
from provider.coordinator.market.requests import Reply, UpdateDeployment
from provider.coordinator.rows import DeploymentRow, Done, LeaseRow, LeaseState, OrderState

_SHOWN = 3
"""Differences that a denial names; more are counted."""


def update(draft: Draft, request: UpdateDeployment) -> tuple[Draft, Reply] | Denied:
    """Change the manifest's hash. The one that stands already is fine, and changes nothing."""
    row = owned(draft, request)
    if isinstance(row, Denied):
        return row
    denied = _check(draft, row, request)
    if denied is not None:
        return denied
    if request.manifest_hash == row.manifest_hash:
        return draft, Done()
    return _updated(draft, row, request.manifest_hash), Done()


def _check(draft: Draft, row: DeploymentRow, request: UpdateDeployment) -> Denied | None:
    orders = [draft.book.orders[order] for order in row.orders]
    is_open = any(order.state is not OrderState.CLOSED for order in orders)
    if not is_open and not _leases(draft, row):
        return Denied(
            why=Denial.DEPLOYMENT_ENDED,
            what=f"the deployment {row.id.dseq} has ended",
            remedy="deploy anew with `tenant deploy`",
        )
    if not HASH.fullmatch(request.manifest_hash):
        return Denied(why=Denial.HASH_INVALID, what="the manifest's hash is not 64 hex digits")
    differences = sdl.compare_groups([order.order.group for order in orders], request.groups)
    if differences:
        named = "; ".join(map(str, differences[:_SHOWN]))
        more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        return Denied(
            why=Denial.GROUPS_DIFFER,
            what=f"an update keeps what was ordered: {named}{more}",
            remedy=f"close and deploy anew: tenant close {row.id.dseq}, then tenant deploy",
        )
    return None


def _updated(draft: Draft, row: DeploymentRow, manifest_hash: str) -> Draft:
    draft = draft.put(replace(row, manifest_hash=manifest_hash, updates=row.updates + 1))
    for order in row.orders:
        # Not told again: who bids needs the resources, and the award brings the hash.
        known = draft.book.orders[order]
        draft = draft.put(replace(known, order=replace(known.order, manifest_hash=manifest_hash)))
    for lease in _leases(draft, row):
        draft = draft.put(replace(lease, version=draft.next_version))
        name = record.lease_name(lease.id, draft.book.salt)
        draft = draft.recorded(record.lease_updated(name, draft.book.salt, manifest_hash))
    return draft


def _leases(draft: Draft, row: DeploymentRow) -> list[LeaseRow]:
    """Those that have not ended."""
    found = (draft.book.leases.get(order) for order in row.orders)
    return [lease for lease in found if lease is not None and lease.state is LeaseState.ACTIVE]
