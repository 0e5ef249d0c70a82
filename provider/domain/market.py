"""The market's objects: what a tenant orders, what a provider bids, what becomes a lease, how it ends.

Refusals and close reasons are enumerated here so that every one of them can be read, counted and
tested; deciding them is ``core``'s (a provider's) and ``coordinator``'s (the market's).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from provider.domain.ids import GpuUuid, LeaseId, NodeName, OrderId
from provider.domain.moment import Instant, Span
from provider.domain.money import Rate
from provider.domain.resources import Attribute, ResourceUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBy:
    """Auditors who must have signed a provider's attributes: all of ``all_of``, one of ``any_of``."""

    all_of: tuple[str, ...] | None = None
    any_of: tuple[str, ...] | None = None

    @property
    def names_somebody(self) -> bool:
        return bool(self.all_of or self.any_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What a placement asks of the provider itself. ``attributes`` is sorted by key."""

    signed_by: SignedBy = SignedBy()
    attributes: tuple[Attribute, ...] = ()
    notice: Span | None = None
    """How long ahead the tenant is to be told before a provider takes the lease back: ``reclamation`` of the
    SDL. None where it asks for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpec:
    """One placement of a deployment as the market sees it: resources and prices, no images, no secrets."""

    name: str
    units: tuple[ResourceUnit, ...]
    requirements: Requirements = Requirements()
    hostnames: tuple[str, ...] = ()
    """Names that its HTTP ports accept, lower case, sorted; the manifest is what counts once it is there."""

    @property
    def max_rate(self) -> Rate:
        """The highest price for the whole group: the sum of unit price x count."""
        first = self.units[0]
        if len(self.units) == first.count == 1:
            return first.price
        total = sum((unit.price.amount * unit.count for unit in self.units), start=Decimal(0))
        return Rate(amount=total, denom=first.price.denom)

    @property
    def gpu_count(self) -> int:
        return sum(unit.resources.gpu.units * unit.count for unit in self.units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A group that looks for a provider."""

    id: OrderId
    group: GroupSpec
    manifest_hash: str
    """The deployment's version: sha256 of its manifest's sorted JSON, 64 hex digits."""
    bids_until: Instant | None = None
    """When the market stops taking bids; None while the order is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuOffer:
    """GPUs that a bid stands for, as the tenant is told: ``count`` cards of one kind."""

    model: str
    count: int
    memory_bytes: int | None = None
    interface: str | None = None
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """A price for an order, backed by a reservation at the provider."""

    id: LeaseId
    """Of the lease it becomes if it wins."""
    rate: Rate
    gpus: tuple[GpuOffer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Award:
    """An accepted bid that the provider must confirm in time, or the next bid is taken."""

    id: LeaseId
    rate: Rate
    manifest_hash: str
    confirm_by: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPlacement:
    """Where one replica of one resource unit goes."""

    resources_id: int
    replica: int
    """From 0 within its unit."""
    gpus: tuple[GpuUuid, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Exactly what a bid, then a lease, holds: node, GPUs replica by replica, host ports."""

    node: NodeName
    replicas: tuple[UnitPlacement, ...]
    """Sorted by resource unit, then replica."""
    host_ports: tuple[int, ...] = ()
    """One for each global port of the group, in the operator's range."""
    simulated_gpus: bool = False
    """Kept with it: after a restart the cards are not known yet when a lease is started again."""
    numa_node: int | None = None
    """The one at which all of its GPUs are, and its CPUs are held; None where it is held to none."""
    cpus: str = ""
    """The CPUs that it is held to, ``0-15,32-47``; empty for any."""
    memory_nodes: str = ""
    """The NUMA nodes whose memory alone it gets; empty for any."""

    @property
    def gpus(self) -> tuple[GpuUuid, ...]:
        return tuple(uuid for replica in self.replicas for uuid in replica.gpus)


class Refusal(StrEnum):
    """Why a provider does not bid, confirm, or take a manifest. One name a reason."""

    NOT_BIDDING = "not_bidding"
    ORDER_INVALID = "order_invalid"
    """It cannot mean anything, whatever its market let pass."""
    OWNER_NOT_SERVED = "owner_not_served"
    ORDER_FILTERED = "order_filtered"
    """A condition of the operator's own does not hold of it."""
    DENOM_NOT_ACCEPTED = "denom_not_accepted"
    ATTRIBUTES_NOT_MET = "attributes_not_met"
    AUDITORS_NOT_MET = "auditors_not_met"
    ENDPOINT_KIND_UNSUPPORTED = "endpoint_kind_unsupported"
    RUNTIME_UNFIT = "runtime_unfit"
    """The engine, or a part of it, is not fit for strangers."""
    VOLUMES_TOO_MANY = "volumes_too_many"
    NOTICE_TOO_SHORT = "notice_too_short"
    """A lease is taken back sooner than its tenant wants to be told."""
    MAINTENANCE_NEAR = "maintenance_near"
    """Its lease could reach into a time at which the operator works on the machine."""
    BID_BUDGET_SPENT = "bid_budget_spent"
    """As many bids were made in the last minute as the operator allows."""
    OPEN_BIDS_SPENT = "open_bids_spent"
    """As many bids are open as the operator allows."""
    DEPOSIT_BUDGET_SPENT = "deposit_budget_spent"
    """As much money is held for bids as the operator allows."""
    GPU_UNKNOWN = "gpu_unknown"
    """No card here matches any alternative, however idle."""
    GPU_BUSY = "gpu_busy"
    GPU_UNHEALTHY = "gpu_unhealthy"
    CPU_SHORT = "cpu_short"
    MEMORY_SHORT = "memory_short"
    STORAGE_CLASS_UNKNOWN = "storage_class_unknown"
    """No persistent storage of that class here, however empty the disks."""
    STORAGE_SHORT = "storage_short"
    PORTS_SHORT = "ports_short"
    PRICE_TOO_LOW = "price_too_low"
    """The order's highest price is below ours."""
    PRICE_NOT_GIVEN = "price_not_given"
    """Whoever was asked for a price gave none, or none that can be."""
    BELOW_COST = "below_cost"
    """The order's highest price is below what it would cost us to run it."""
    LEASE_UNKNOWN = "lease_unknown"
    BID_GONE = "bid_gone"
    """The award came after the reservation was given up."""
    MANIFEST_NOT_AWAITED = "manifest_not_awaited"
    MANIFEST_HASH_DIFFERS = "manifest_hash_differs"
    MANIFEST_GROUP_MISSING = "manifest_group_missing"
    MANIFEST_RESOURCES_DIFFER = "manifest_resources_differ"
    DEPENDENCIES_CIRCULAR = "dependencies_circular"
    SERVICE_UNKNOWN = "service_unknown"
    HOSTNAME_INVALID = "hostname_invalid"
    HOSTNAME_BLOCKED = "hostname_blocked"
    """It is the operator's own, or on the operator's list."""
    HOSTNAME_TAKEN = "hostname_taken"
    """Another tenant's lease asks for it here."""
    HOSTNAME_UNKNOWN = "hostname_unknown"
    """It cannot be moved: the one lease does not have it, or the other does not ask for it."""
    NOT_RUNNING = "not_running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A refusal with its facts, readable as a sentence."""

    why: Refusal
    required: str = ""
    available: str = ""

    def __str__(self) -> str:
        facts = [f"required {self.required}"] if self.required else []
        facts += [f"available {self.available}"] if self.available else []
        return self.why.replace("_", " ") + (f" ({', '.join(facts)})" if facts else "")


class Fault(StrEnum):
    """Whose fault the end of a lease was."""

    NOBODY = "nobody"
    TENANT = "tenant"
    PROVIDER = "provider"
    GPU = "gpu"
    NETWORK = "network"
    PLATFORM = "platform"


class CloseReason(StrEnum):
    """Why a lease ended: exactly one each."""

    TENANT_CLOSED = "tenant_closed"
    FUNDS_EXHAUSTED = "funds_exhausted"
    NOT_CONFIRMED = "not_confirmed"
    """The provider did not confirm the acceptance in time."""
    MANIFEST_TIMEOUT = "manifest_timeout"
    IMAGE_UNAVAILABLE = "image_unavailable"
    WORKLOAD_REFUSED = "workload_refused"
    """The engine cannot run it as ordered: a bad command, a limit it does not accept."""
    WORKLOAD_UNSTABLE = "workload_unstable"
    """It kept exiting."""
    GPU_FAILED = "gpu_failed"
    OPERATOR_CLOSED = "operator_closed"
    LEASE_FORGOTTEN = "lease_forgotten"
    """The market does not know the lease."""

    @property
    def fault(self) -> Fault:
        return _FAULTS[self]


_FAULTS = {
    CloseReason.TENANT_CLOSED: Fault.NOBODY,
    CloseReason.FUNDS_EXHAUSTED: Fault.TENANT,
    CloseReason.NOT_CONFIRMED: Fault.PROVIDER,
    CloseReason.MANIFEST_TIMEOUT: Fault.TENANT,
    CloseReason.IMAGE_UNAVAILABLE: Fault.TENANT,
    CloseReason.WORKLOAD_REFUSED: Fault.TENANT,
    CloseReason.WORKLOAD_UNSTABLE: Fault.TENANT,
    CloseReason.GPU_FAILED: Fault.GPU,
    CloseReason.OPERATOR_CLOSED: Fault.PROVIDER,
    CloseReason.LEASE_FORGOTTEN: Fault.PLATFORM,
}


class LeaseHealth(StrEnum):
    """A lease as its tenant and the market see it, reported by the provider."""

    WAITING = "waiting"
    """For the manifest."""
    STARTING = "starting"
    RUNNING = "running"
    UPDATING = "updating"
    """Becoming what the tenant changed it to; what ran before runs on as long as it can."""
    DEGRADED = "degraded"
    """Some of its containers are being repaired, the others run."""
    REPAIRING = "repairing"
    STOPPING = "stopping"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a lease has used since it began, cumulative: a later report replaces an earlier one."""

    lease: LeaseId
    number: int
    """Counts reports of this lease from 1; the market ignores a lower one."""
    running_ms: int
    """Time in which the workload ran with its GPUs visible: what is billed."""
    at: Instant
    is_final: bool = False
