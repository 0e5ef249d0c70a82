"""From a manifest and a placement to exactly what the engine is told to run.

Pure and deterministic: the same lease gives the same launch, which is what makes starting twice the
same as starting once.
"""

from __future__ import annotations

from collections.abc import Iterable

from provider.core import hostnames
from provider.core.policy import Policy
from provider.core.revising import revision_of
from provider.core.state import Lease
from provider.domain.ids import GpuUuid
from provider.domain.manifest import ManifestGroup, Proto
from provider.domain.workload import Dependency, Launch, PortBinding, ReplicaLaunch
from provider.sdl.build import is_http


def port_bindings(
    group: ManifestGroup, host_ports: tuple[int, ...], kept: tuple[PortBinding, ...] = ()
) -> tuple[PortBinding, ...]:
    """A host port for each globally exposed port: the one it had in ``kept``, else the next in the manifest's
    order. Where the bid counted on the ingress for HTTP ports, these have none."""
    exposed = [
        (service.name, expose)
        for service in group.services
        for expose in service.expose
        if expose.is_global and not expose.ip
    ]
    if len(exposed) > len(host_ports):
        exposed = [(name, expose) for name, expose in exposed if not is_http(expose)]
    assert len(exposed) <= len(host_ports), "the placement holds a port for each endpoint of the order"
    had: dict[tuple[str, int, int, Proto], list[int]] = {}
    for port in kept:
        had.setdefault((port.service, port.port, port.external_port, port.proto), []).append(port.host_port)
    wanted = [(name, expose.port, expose.effective_port, expose.proto) for name, expose in exposed]
    stays = [had[key].pop(0) if had.get(key) else None for key in wanted]
    free = iter([port for port in host_ports if port not in stays])
    return tuple(
        PortBinding(
            service=name,
            port=port,
            host_port=next(free) if host_port is None else host_port,
            external_port=external_port,
            proto=proto,
        )
        for (name, port, external_port, proto), host_port in zip(wanted, stays, strict=True)
    )


def expected(lease: Lease) -> list[tuple[str, int]]:
    """Service and replica of each container that a lease with a manifest has."""
    assert lease.manifest is not None, "only a lease with a manifest has containers"
    group = lease.manifest.group(lease.group.name)
    assert group is not None, "a manifest that was taken has the lease's group"
    return [(service.name, replica) for service in group.services for replica in range(service.count)]


def launch(lease: Lease, policy: Policy) -> Launch:
    """What to run for a lease whose manifest was taken."""
    assert lease.current is not None, "only a lease with a manifest is launched"
    group = lease.current.manifest.group(lease.group.name)
    assert group is not None, "a manifest that was taken has the lease's group"
    gpus = {(placed.resources_id, placed.replica): placed.gpus for placed in lease.placement.replicas}
    named = hostnames.bindings(lease, policy.ingress) if policy.ingress is not None else ()
    taken: dict[int, int] = {}
    replicas = []
    for service in group.services:
        for replica in range(service.count):
            unit = service.resources.id
            slot = taken.get(unit, 0)
            taken[unit] = slot + 1
            held: tuple[GpuUuid, ...] = gpus[unit, slot]
            ports = (
                tuple(port for port in lease.ports if port.service == service.name) if replica == 0 else ()
            )
            replicas.append(
                ReplicaLaunch(
                    service=service,
                    replica=replica,
                    generation=revision_of(lease, service.name),
                    gpus=held,
                    ports=ports,
                    hostnames=tuple(each.hostname for each in named if each.service == service.name),
                )
            )
    return Launch(
        lease=lease.id,
        generation=lease.generation,
        replicas=tuple(replicas),
        dependencies=lease.current.dependencies,
        grace_s=policy.stop_grace_s,
        simulated_gpus=lease.placement.simulated_gpus,
        cpus=lease.placement.cpus,
        memory_nodes=lease.placement.memory_nodes,
    )


def sensible(
    dependencies: Iterable[Dependency], group: ManifestGroup
) -> tuple[tuple[Dependency, ...], Dependency | None]:
    """Those between services of ``group``, sorted; and one that closes a circle, if there is one."""
    names = {service.name for service in group.services}
    kept = sorted({each for each in dependencies if {each.service, each.needs} <= names})
    left = set(names)
    while True:
        waiting = {each.service for each in kept if each.needs in left and each.service in left}
        if not waiting:
            return tuple(kept), None
        if waiting == left:
            return tuple(kept), next(each for each in kept if each.service in left and each.needs in left)
        left = waiting


def waves(launch: Launch) -> tuple[tuple[ReplicaLaunch, ...], ...]:
    """The replicas, in groups that can be started at once; each needs only those before it."""
    left = list(launch.replicas)
    made: list[tuple[ReplicaLaunch, ...]] = []
    while left:
        names = {replica.service.name for replica in left}
        waits = {each.service for each in launch.dependencies if each.needs in names}
        wave = tuple(replica for replica in left if replica.service.name not in waits)
        assert wave, "dependencies have no circles"
        made.append(wave)
        left = [replica for replica in left if replica.service.name in waits]
    return tuple(made)


def needed_by(launch: Launch, wave: Iterable[ReplicaLaunch]) -> tuple[ReplicaLaunch, ...]:
    """What must be ready before ``wave`` is started."""
    names = {replica.service.name for replica in wave}
    needed = {each.needs for each in launch.dependencies if each.service in names}
    return tuple(replica for replica in launch.replicas if replica.service.name in needed)
