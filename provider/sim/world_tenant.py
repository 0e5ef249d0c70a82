"""Tenants of a simulated world: each deploys one thing, takes the cheapest bid, sends a manifest, and leaves.

Some are trouble: they never send a manifest, or a wrong one first, or an image that is missing, or one that
keeps dying. ``kind`` says which, and the checkers hold every end of a lease against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256

from provider.coordinator.denial import Denied
from provider.coordinator.market.requests import (
    AcceptBid,
    CloseDeployment,
    CreateDeployment,
    UpdateDeployment,
)
from provider.coordinator.rows import BidState, Created, Done, LeaseState
from provider.core.events import ManifestArrived
from provider.core.step import Step
from provider.domain.ids import DeploymentId, LeaseId, OrderId, Owner, ProviderId
from provider.domain.manifest import Manifest, ManifestGroup, Service
from provider.domain.market import GroupSpec
from provider.domain.moment import SECOND
from provider.domain.money import Denom, Money, Rate
from provider.domain.resources import GIB, GpuAlternative, GpuAsk, Resources, ResourceUnit
from provider.sim.world_engine import MISSING_IMAGE, REFUSED_IMAGE
from provider.sim.world_market import Surroundings


class Kind(StrEnum):
    PLAIN = "plain"
    POOR = "poor"
    """Its deposit runs out."""
    SILENT = "silent"
    """It never sends a manifest."""
    CARELESS = "careless"
    """It sends a wrong manifest first."""
    MISSING = MISSING_IMAGE
    REFUSED = REFUSED_IMAGE
    DYING = "dying"
    """Its containers exit after a while, again and again."""


SendsTo = Callable[[ProviderId, ManifestArrived], Step | None]
"""Brings a manifest to a provider; None while that is down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a tenant wants, and for how long."""

    owner: Owner
    kind: Kind
    gpus: int
    replicas: int
    stays: int
    """Milliseconds from the deployment to its close."""
    updates: bool = False
    """Once its manifest was taken, it orders another one."""

    @property
    def group(self) -> GroupSpec:
        price = Rate(amount=Decimal(1_000), denom=Denom.UACT)
        return GroupSpec(
            name="web", units=(ResourceUnit(resources=self.resources, count=self.replicas, price=price),)
        )

    @property
    def resources(self) -> Resources:
        alternatives = (GpuAlternative(vendor="nvidia", model="h100"),) if self.gpus else ()
        gpu = GpuAsk(units=self.gpus, alternatives=alternatives)
        return Resources(id=1, cpu_millis=1_000, memory_bytes=GIB, gpu=gpu)

    @property
    def manifest(self) -> Manifest:
        service = Service(name="web", image=self.kind.value, resources=self.resources, count=self.replicas)
        return Manifest(groups=(ManifestGroup(name="web", services=(service,)),))

    @property
    def manifest_hash(self) -> str:
        """Of nothing in particular, but its own."""
        return sha256(f"{self.owner} {self.kind}".encode()).hexdigest()

    @property
    def newer_manifest(self) -> Manifest:
        """The one that it updates to."""
        (group,) = self.manifest.groups
        (service,) = group.services
        return Manifest(groups=(replace(group, services=(replace(service, env=("NEWER=1",)),)),))

    @property
    def newer_hash(self) -> str:
        return sha256(f"{self.owner} {self.kind} newer".encode()).hexdigest()


class Tenant:
    """Looks every other second at what there is to do. Repeats what got no answer, under the same key."""

    def __init__(self, around: Surroundings, wish: Wish, sends_to: SendsTo) -> None:
        self.wish = wish
        self.deployment: DeploymentId | None = None
        self.has_closed = False
        self.market = around.market
        self._around = around
        self._sends_to = sends_to
        self._is_leaving = False
        self._accepted = 0
        self._sent: Mapping[LeaseId, int] = {}
        self._has_ordered_newer = self._has_sent_newer = False

    def arrive(self) -> None:
        request = CreateDeployment(
            owner=self.wish.owner,
            key="deploy",
            groups=(self.wish.group,),
            manifest_hash=self.wish.manifest_hash,
            deposit=Money(amount=500_000 if self.wish.kind is Kind.POOR else 50_000_000, denom=Denom.UACT),
        )
        reply = self._around.market.ask(request)
        if isinstance(reply, Created):
            self.deployment = reply.deployment
            self._later(self.wish.stays, self.leave)
            self._later(SECOND, self._look)
        else:
            self._later(SECOND, self.arrive)

    def leave(self) -> None:
        """Close the deployment, whatever became of it."""
        self._is_leaving = True
        if self.deployment is None or self.has_closed:
            return
        request = CloseDeployment(owner=self.wish.owner, key="close", deployment=self.deployment)
        if self._around.market.ask(request) is None:
            self._later(SECOND, self.leave)
        else:
            self.has_closed = True

    def _later(self, span: int, act: Callable[[], None]) -> None:
        self._around.agenda.later(span, str(self.wish.owner), act)

    def _look(self) -> None:
        if self._is_leaving:
            return
        assert self.deployment is not None, "it has deployed"
        self._later(2 * SECOND, self._look)
        order = OrderId(owner=self.wish.owner, dseq=self.deployment.dseq, gseq=1, oseq=1)
        lease = self._around.market.book.leases.get(order)
        if lease is None:
            self._accept(order)
        elif lease.state is LeaseState.ACTIVE and self.wish.kind is not Kind.SILENT:
            self._send(lease.id)

    def _accept(self, order: OrderId) -> None:
        bids = [bid for bid in self._around.market.book.bids.get(order) or () if bid.state is BidState.OPEN]
        if bids:
            cheapest = min(bids, key=lambda bid: (bid.bid.rate.amount, bid.number))
            self._accepted += 1
            key = f"accept {self._accepted}"
            reply = self._around.market.ask(AcceptBid(owner=self.wish.owner, key=key, bid=cheapest.bid.id))
            assert reply is None or not isinstance(reply, Denied) or reply.remedy is not None, reply

    def _send(self, lease: LeaseId) -> None:
        if self._sent.get(lease) == 2:
            if self.wish.updates and not self._has_sent_newer:
                self._update(lease)
            return
        is_wrong = self.wish.kind is Kind.CARELESS and lease not in self._sent
        step = self._sends_to(
            lease.provider,
            ManifestArrived(
                lease=lease,
                manifest=self.wish.manifest,
                manifest_hash="00" * 32 if is_wrong else self.wish.manifest_hash,
            ),
        )
        if step is not None:
            assert not is_wrong or step.refused is not None, "a manifest that was not ordered is refused"
            self._sent = {**self._sent, lease: 2 if step.refused is None else 1}

    def _update(self, lease: LeaseId) -> None:
        """Order the newer manifest, then bring it until it is taken: the provider hears of it in its time."""
        assert self.deployment is not None, "it has deployed"
        if not self._has_ordered_newer:
            request = UpdateDeployment(
                owner=self.wish.owner,
                key="update",
                deployment=self.deployment,
                groups=(self.wish.group,),
                manifest_hash=self.wish.newer_hash,
            )
            self._has_ordered_newer = isinstance(self._around.market.ask(request), Done)
            return
        newer = ManifestArrived(
            lease=lease, manifest=self.wish.newer_manifest, manifest_hash=self.wish.newer_hash
        )
        step = self._sends_to(lease.provider, newer)
        self._has_sent_newer = step is not None and step.refused is None
