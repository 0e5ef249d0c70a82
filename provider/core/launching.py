"""From a manifest and a placement to exactly what the engine is told to run.

Pure and deterministic: the same lease gives the same launch, which is what makes starting twice the
same as starting once.
"""

from __future__ import annotations

from provider.core.state import Lease
from provider.domain.ids import GpuUuid
from provider.domain.manifest import ManifestGroup
from provider.domain.workload import Launch, PortBinding, ReplicaLaunch


def port_bindings(group: ManifestGroup, host_ports: tuple[int, ...]) -> tuple[PortBinding, ...]:
    """A host port for each globally exposed port, in the manifest's order."""
    exposed = [
        (service.name, expose)
        for service in group.services
        for expose in service.expose
        if expose.is_global and not expose.ip
    ]
    assert len(exposed) <= len(host_ports), "the placement holds a port for each endpoint of the order"
    return tuple(
        PortBinding(
            service=name,
            port=expose.port,
            host_port=host_port,
            external_port=expose.effective_port,
            proto=expose.proto,
        )
        for (name, expose), host_port in zip(exposed, host_ports, strict=False)
    )


def launch(lease: Lease, *, simulated_gpus: bool) -> Launch:
    """What to run for a lease whose manifest was taken."""
    assert lease.manifest is not None, "only a lease with a manifest is launched"
    group = lease.manifest.group(lease.group.name)
    assert group is not None, "a manifest that was taken has the lease's group"
    gpus = {(placed.resources_id, placed.replica): placed.gpus for placed in lease.placement.replicas}
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
            replicas.append(ReplicaLaunch(service=service, replica=replica, gpus=held, ports=ports))
    return Launch(
        lease=lease.id, generation=lease.generation, replicas=tuple(replicas), simulated_gpus=simulated_gpus
    )
