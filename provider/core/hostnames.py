"""Host names: which a manifest asks for, which of them a lease gets, who answers to which. Pure.

Every HTTP port of a lease has a name of its own under the operator's domain, which follows from the lease's
key. Names that tenants bring (``accept``) are kept per owner: as long as a live lease asks for one, no other
owner's lease can. Where two leases of one owner ask for the same name the first has it, until the owner
moves it or that lease ends.

Invariant: a name leads to at most one lease, and to no lease that does not ask for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from provider.core.lease import Phase
from provider.core.policy import IngressPolicy
from provider.core.remembered import by_identity
from provider.core.state import AgentState, Lease, Revision
from provider.domain.hostname import HostnameBinding
from provider.domain.ids import LeaseId, Owner
from provider.domain.manifest import Expose, ManifestGroup
from provider.domain.market import Order, Refusal, Refused
from provider.sdl.build import hosts_of, is_http

LABEL_LONGEST = 63
"""RFC 1035, section 2.3.4."""


def bindings(lease: Lease, policy: IngressPolicy) -> tuple[HostnameBinding, ...]:
    """All that a lease asks for, its own names and its tenant's, in the manifest's order."""
    return () if lease.current is None else tuple(_bindings(lease, lease.current, policy))


def table(state: AgentState) -> Mapping[str, HostnameBinding]:
    """What each name leads to now. Empty without an ingress."""
    policy = state.policy.ingress
    if policy is None:
        return {}
    live = [lease for lease in state.leases.values() if _is_live(lease)]
    askers = _askers(live)
    found: dict[str, HostnameBinding] = {}
    for lease in live:
        for each in bindings(lease, policy):
            holder = _holder(each.hostname, askers.get(each.hostname, ()))
            if holder is None or holder.id == lease.id:
                found[each.hostname] = each
    return found


def uris(state: AgentState, lease: Lease, service: str) -> tuple[str, ...]:
    """Where a service's HTTP ports are reached, the names that lead to it now."""
    policy = state.policy.ingress
    if policy is None:
        return ()
    return tuple(
        policy.uri(name)
        for name, each in sorted(table(state).items())
        if (each.lease, each.service) == (lease.id, service)
    )


def claim(state: AgentState, lease: Lease, group: ManifestGroup) -> tuple[str, ...] | Refused:
    """The tenant's names that ``lease`` holds once it runs ``group``, sorted; or why it cannot have one."""
    policy = state.policy.ingress
    if policy is None:
        return lease.hostnames
    others = [each for each in state.leases.values() if each.id != lease.id and _is_live(each)]
    asked = _asked(group)
    own = {each.hostname for each in _own_names(lease.id, group, policy)}
    rivals = _askers(others)
    for name in sorted(asked - own):
        refused = _refusal(policy, lease.id.owner, name, {each.id.owner for each in rivals.get(name, ())})
        if refused is not None:
            return refused
    askers = _askers([*others, lease])
    kept = asked | _asked_by(lease)
    holders = {name: _holder(name, askers.get(name, ())) for name in kept - own}
    return tuple(sorted(name for name, holder in holders.items() if holder is None or holder.id == lease.id))


def unavailable(state: AgentState, order: Order) -> Refused | None:
    """The first name of ``order`` that its lease could not have now. Those of leases that are ending are not
    free before these are gone."""
    policy = state.policy.ingress
    if policy is None or not order.group.hostnames:
        return None
    taken = _taken(state.leases)
    refusals = (_refusal(policy, order.id.owner, name, taken.get(name, ())) for name in order.group.hostnames)
    return next((each for each in refusals if each is not None), None)


@by_identity(most=4)
def _taken(leases: Mapping[LeaseId, Lease]) -> Mapping[str, frozenset[Owner]]:
    found: dict[str, frozenset[Owner]] = {}
    for lease in leases.values():
        for name in wanted(lease):
            found[name] = found.get(name, frozenset()) | {lease.id.owner}
    return found


def wanted(lease: Lease) -> frozenset[str]:
    """What it asks for: by its manifest, or by its order before that has come."""
    return frozenset(lease.group.hostnames) if lease.current is None else _asked_by(lease)


def migrated(
    state: AgentState, source: LeaseId, target: LeaseId, names: Iterable[str]
) -> tuple[Lease, Lease] | Refused:
    """Source and target after ``names`` moved, all of them or none."""
    one, other = state.leases.get(source), state.leases.get(target)
    for lease_id, lease in ((target, other), (source, one)):
        if lease is None or not _is_live(lease) or lease_id.owner != target.owner:
            return Refused(why=Refusal.LEASE_UNKNOWN, required=str(lease_id))
    assert one is not None, "checked above"
    assert other is not None, "checked above"
    moving = frozenset(names)
    askers = _askers(each for each in state.leases.values() if _is_live(each))
    for name in sorted(moving):
        holder = _holder(name, askers.get(name, ()))
        if holder is None or holder.id not in {source, target}:
            return Refused(why=Refusal.HOSTNAME_UNKNOWN, required=name, available=f"not with {source}")
        if name not in _asked_by(other):
            return Refused(
                why=Refusal.HOSTNAME_UNKNOWN, required=name, available=f"not accepted by {target}'s manifest"
            )
    left = tuple(name for name in one.hostnames if name not in moving)
    gained = tuple(sorted({*other.hostnames, *moving}))
    return replace(one, hostnames=left), replace(other, hostnames=gained)


def _is_live(lease: Lease) -> bool:
    return lease.phase not in {Phase.STOPPING, Phase.CLOSED}


def _refusal(policy: IngressPolicy, owner: Owner, name: str, owners: Collection[Owner]) -> Refused | None:
    """Whether ``owner`` cannot have it where ``owners`` ask for it."""
    labels = name.split(".")
    if len(labels) < 2 or labels[-1].isdigit():
        return Refused(
            why=Refusal.HOSTNAME_INVALID, required="a name such as www.example.com", available=name
        )
    if _is_within(name, policy.domain):
        return Refused(
            why=Refusal.HOSTNAME_BLOCKED, required=name, available=f"{policy.domain} is the provider's own"
        )
    for blocked in policy.blocked:
        if name == blocked or (blocked.startswith(".") and _is_within(name, blocked[1:])):
            return Refused(
                why=Refusal.HOSTNAME_BLOCKED, required=name, available=f"{blocked} is blocked here"
            )
    if any(each != owner for each in owners):
        return Refused(why=Refusal.HOSTNAME_TAKEN, required=name, available="another tenant has it here")
    return None


def _is_within(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")


def _holder(name: str, askers: Iterable[Lease]) -> Lease | None:
    """Of those that ask for ``name``: whoever was given it, else the one that was there first."""
    there = list(askers)
    given = [lease for lease in there if name in lease.hostnames]
    return min(given or there, key=lambda lease: (lease.version, lease.id), default=None)


def _askers(leases: Iterable[Lease]) -> dict[str, list[Lease]]:
    found: dict[str, list[Lease]] = {}
    for lease in leases:
        for name in _asked_by(lease):
            found.setdefault(name, []).append(lease)
    return found


def _asked_by(lease: Lease) -> frozenset[str]:
    """While an update may still be taken back, what ran before it keeps its names too."""
    revisions = [each for each in (lease.current, lease.former) if each is not None]
    return frozenset(name for each in revisions for name in _asked(_group(lease, each)))


def _asked(group: ManifestGroup) -> frozenset[str]:
    """The tenant's own names of the HTTP ports."""
    return frozenset(
        host for service in group.services for expose in service.expose for host in hosts_of(expose)
    )


def _group(lease: Lease, revision: Revision) -> ManifestGroup:
    group = revision.manifest.group(lease.group.name)
    assert group is not None, "a manifest that was taken has the lease's group"
    return group


def _bindings(lease: Lease, revision: Revision, policy: IngressPolicy) -> Iterator[HostnameBinding]:
    group = _group(lease, revision)
    own = tuple(_own_names(lease.id, group, policy))
    yield from own
    taken = {each.hostname for each in own}
    for service in group.services:
        for expose in service.expose:
            for name in hosts_of(expose):
                if name not in taken:
                    yield _binding(name, lease.id, service.name, expose)


def _own_names(lease: LeaseId, group: ManifestGroup, policy: IngressPolicy) -> Iterator[HostnameBinding]:
    """``<key>.<domain>`` where one port is served, else ``<service>-<key>``, ``<service>-<port>-<key>``."""
    served = [
        (service.name, expose) for service in group.services for expose in service.expose if is_http(expose)
    ]
    services = [name for name, _ in served]
    for name, expose in served:
        first = name if services.count(name) == 1 else f"{name}-{expose.port}"
        label = lease.key if len(served) == 1 else _label(first, lease.key)
        yield _binding(f"{label}.{policy.domain}", lease, name, expose)


def _label(first: str, key: str) -> str:
    if len(first) + 1 + len(key) > LABEL_LONGEST:
        digest = hashlib.sha256(first.encode()).hexdigest()[:8]
        first = f"{first[: LABEL_LONGEST - len(key) - len(digest) - 2]}-{digest}"
    return f"{first}-{key}"


def _binding(name: str, lease: LeaseId, service: str, expose: Expose) -> HostnameBinding:
    return HostnameBinding(
        hostname=name, lease=lease, service=service, port=expose.port, options=expose.http_options
    )
