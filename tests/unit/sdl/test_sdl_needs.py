"""What a lease needs in all: sums over replicas, ram volumes as memory, ports and host names."""

from __future__ import annotations

from provider import sdl
from provider.domain.manifest import Proto
from provider.sdl.needs import PublicPort, StorageNeed
from tests.sdl_texts import changed, with_gpu

VOLUMES = """storage:
          - size: 1Gi
          - {name: shm, size: 256Mi, attributes: {class: ram}}
          - {name: d, size: 10Gi, attributes: {persistent: true, class: beta3}}"""
EXPOSES = """      - {port: 80, accept: [b.io, a.io], to: [{global: true}]}
      - {port: 53, proto: UDP, to: [{global: true}]}
      - {port: 9000}
"""
TEXT = changed(
    ("storage:\n          size: 1Gi", VOLUMES),
    ("    image: nginx:1\n", "    image: nginx:1\n    params: {storage: {d: {mount: /d}}}\n"),
    ("      count: 1\n", "      count: 3\n"),
    ("      - port: 80\n        to:\n          - global: true\n", EXPOSES),
    text=with_gpu("{units: 2, attributes: {vendor: {nvidia: [{model: h100}]}}}"),
)


def test_needs() -> None:
    parsed = sdl.read(TEXT)
    needs = sdl.needs_of(parsed.groups[0])
    assert needs.cpu_millis == 3 * 500
    assert needs.memory_bytes == 3 * (512 + 256) * 1024**2
    assert needs.gpu_count == 6
    assert [(each.replicas, each.ask.units, each.ask.alternatives[0].model) for each in needs.gpus] == [
        (3, 2, "h100")
    ]
    assert needs.storage == (
        StorageNeed(storage_class="beta3", size_bytes=30 * 1024**3, is_persistent=True),
        StorageNeed(storage_class="ephemeral", size_bytes=3 * 1024**3, is_persistent=False),
    )
    assert (needs.http_endpoints, needs.port_endpoints, needs.leased_ips) == (1, 1, 0)


def test_ports_and_host_names() -> None:
    (group,) = sdl.read(TEXT).manifest.groups
    assert sdl.public_ports(group) == (
        PublicPort(service="web", port=53, external_port=53, proto=Proto.UDP),
        PublicPort(service="web", port=80, external_port=80, proto=Proto.TCP),
    )
    assert sdl.hostnames(group) == ("a.io", "b.io")
