"""Leases with host names, for the tests of who gets which and of the ingress that serves them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from provider.core.agent import transition
from provider.core.events import LeaseUpdated, ManifestArrived, MigrationRequested
from provider.core.lease import Phase
from provider.core.policy import IngressPolicy, Policy
from provider.core.state import AgentState, Lease, Revision
from provider.domain.ids import LeaseId, NodeName, OrderId, Owner
from provider.domain.manifest import Expose, HttpOptions, Manifest, ManifestGroup, Service
from provider.domain.market import GroupSpec, Placement, Refused, UnitPlacement
from provider.domain.resources import Endpoint, EndpointKind, GpuAsk, Resources, ResourceUnit
from provider.sdl import manifest_hash
from tests.agents import POLICY, PROVIDER, START, group, rate, resources

DOMAIN = "apps.example.com"
INGRESS = IngressPolicy(domain=DOMAIN, blocked=("blocked.example.org", ".bank.example"))
NO_GPU = GpuAsk(units=0, alternatives=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """Of a service: what it is called outside, and the names that it accepts."""

    port: int = 8080
    external_port: int = 80
    hosts: tuple[str, ...] = ()
    options: HttpOptions = HttpOptions()  # noqa: RUF009 - a frozen value


Ports = Mapping[str, Sequence[Port]]
"""By service."""


def lease_id(number: int, owner: str = "alice") -> LeaseId:
    return OrderId(owner=Owner(owner), dseq=number, gseq=1, oseq=1).lease(PROVIDER)


def manifest_of(ports: Ports, image: str = "hello") -> Manifest:
    services = tuple(
        Service(
            name=name,
            image=image,
            resources=_resources(number, each),
            expose=tuple(
                Expose(
                    port=port.port,
                    external_port=port.external_port,
                    is_global=True,
                    hosts=port.hosts or None,
                    http_options=port.options,
                )
                for port in each
            ),
        )
        for number, (name, each) in enumerate(sorted(ports.items()), start=1)
    )
    return Manifest(groups=(ManifestGroup(name="web", services=services),))


def _resources(number: int, ports: Iterable[Port]) -> Resources:
    kinds = [
        EndpointKind.SHARED_HTTP if port.external_port == 80 else EndpointKind.RANDOM_PORT for port in ports
    ]
    return replace(resources(number, gpus=NO_GPU), endpoints=tuple(Endpoint(kind=kind) for kind in kinds))


def awarded(number: int, ports: Ports, owner: str = "alice", host_ports: tuple[int, ...] = ()) -> Lease:
    """A lease that awaits its manifest."""
    content = manifest_of(ports)
    units = tuple(
        ResourceUnit(resources=service.resources, count=1, price=rate())
        for service in content.groups[0].services
    )
    of: GroupSpec = group(*units)
    return Lease(
        id=lease_id(number, owner),
        group=of,
        rate=rate(),
        manifest_hash=manifest_hash(content),
        placement=Placement(
            node=NodeName("n1"),
            replicas=tuple(UnitPlacement(resources_id=unit.resources.id, replica=0) for unit in units),
            host_ports=host_ports,
        ),
        version=number,
        phase=Phase.AWARDED,
        due=None,
    )


def running(number: int, ports: Ports, owner: str = "alice", hostnames: tuple[str, ...] = ()) -> Lease:
    """A lease that runs what it asked for; ``hostnames`` are the tenant's names that it was given."""
    content = manifest_of(ports)
    revision = Revision(manifest=content, manifest_hash=manifest_hash(content))
    lease = awarded(number, ports, owner)
    return replace(lease, phase=Phase.RUNNING, current=revision, generation=1, hostnames=hostnames)


def state(*leases: Lease, ingress: IngressPolicy | None = INGRESS) -> AgentState:
    policy: Policy = replace(POLICY, ingress=ingress)
    return AgentState(policy=policy, leases={lease.id: lease for lease in leases})


@dataclass(slots=True)
class Provider:
    """An agent's state, and what a test does to it."""

    state: AgentState

    def takes(self, number: int, ports: Ports, owner: str = "alice") -> Refused | None:
        """An order's lease is there and its manifest arrives: the answer."""
        if lease_id(number, owner) not in self.state.leases:
            lease = awarded(number, ports, owner, host_ports=tuple(range(31000, 31009)))
            self.state = replace(self.state, leases={**self.state.leases, lease.id: lease})
        return self.updates(number, ports, owner)

    def updates(
        self, number: int, ports: Ports, owner: str = "alice", image: str = "hello"
    ) -> Refused | None:
        """The tenant orders another manifest of it, and sends it."""
        content = manifest_of(ports, image)
        hashed, lease = manifest_hash(content), lease_id(number, owner)
        version = self.state.market().version + 1
        self.take(LeaseUpdated(lease=lease, manifest_hash=hashed, version=version))
        return self.take(ManifestArrived(lease=lease, manifest=content, manifest_hash=hashed))

    def migrates(self, source: LeaseId, target: LeaseId, *names: str) -> Refused | None:
        return self.take(MigrationRequested(lease=target, source=source, hostnames=names))

    def take(self, event: LeaseUpdated | ManifestArrived | MigrationRequested) -> Refused | None:
        step = transition(self.state, event, START)
        self.state = step.state
        return step.refused

    def drop(self, number: int, owner: str = "alice") -> None:
        """The lease has ended."""
        gone = lease_id(number, owner)
        leases = {key: lease for key, lease in self.state.leases.items() if key != gone}
        self.state = replace(self.state, leases=leases)
