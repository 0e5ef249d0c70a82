"""One private bridge network a lease, with a small subnet of the operator's pool.

Subnets are given explicitly: an engine's own pools end after some 30 networks. The first choice follows
from the lease's key; where that overlaps another network, the next free one is looked for. So it is with the
bridge's name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

import docker
import docker.errors
import docker.types

from provider.adapters.runtime import naming
from provider.adapters.runtime.engine import Engine
from provider.domain.errors import Permanent, Temporary
from provider.domain.ids import LeaseId

BITS_MIN = 4
"""16 addresses: network, gateway, broadcast, and 13 for containers."""
TRIES = 16
"""Another agent, or another program, may take a subnet between looking and taking."""
SAME_BRIDGE = "networks have same bridge name"


async def ensure(engine: Engine, lease: LeaseId, containers: int) -> None:
    """Have the lease's network, with room for ``containers``."""
    settings = engine.settings
    pool = ipaddress.IPv4Network(settings.subnet_pool)
    name = naming.network_name(lease)
    labels = naming.lease_labels(settings.provider, lease)

    def make(client: docker.APIClient) -> None:
        choices, bridges = subnets(pool, lease, containers), iter(naming.bridges(lease))
        wanted, bridge = next(choices), next(bridges)
        for _ in range(TRIES):
            try:
                client.create_network(
                    name,
                    driver="bridge",
                    check_duplicate=True,
                    options={"com.docker.network.bridge.name": bridge},
                    ipam=docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=str(wanted))]),
                    labels=labels,
                )
            except docker.errors.APIError as error:
                if SAME_BRIDGE in str(error.explanation):
                    bridge = _next(bridges, lease)
                    continue
                if error.status_code == 409 or "already exists" in str(error.explanation):
                    _check(client, name, labels)
                    return
                if "overlap" not in str(error.explanation):
                    raise
                taken = list(_taken(client))
                free = (each for each in choices if not any(each.overlaps(other) for other in taken))
                found = next(free, None)
                if found is None:
                    break
                wanted = found
            else:
                return
        raise Temporary(
            f"no subnet of {pool} is free for {lease}", remedy="give the runtime a larger subnet pool"
        )

    await engine.call(f"making the network of {lease}", make)


def _next(bridges: Iterator[str], lease: LeaseId) -> str:
    for bridge in bridges:
        return bridge
    raise Temporary(
        f"every bridge that {lease} could have is another network's",
        remedy="docker network ls; where none of them is listed, the engine keeps networks that it has "
        "forgotten: with the engine stopped, move its network/files/local-kv.db aside",
    )


def subnets(pool: ipaddress.IPv4Network, lease: LeaseId, containers: int) -> Iterator[ipaddress.IPv4Network]:
    """Every subnet of ``pool`` that is large enough, in an order of the lease's own; each once."""
    bits = max(BITS_MIN, (containers + 3 - 1).bit_length())
    count = 1 << (32 - pool.prefixlen - bits)
    first = int(lease.key, 32) % count
    for offset in range(count):
        address = int(pool.network_address) + ((first + offset) % count << bits)
        yield ipaddress.IPv4Network((address, 32 - bits))


def _check(client: docker.APIClient, name: str, labels: dict[str, str]) -> None:
    told = client.inspect_network(name)
    if any((told.get("Labels") or {}).get(key) != text for key, text in labels.items()):
        raise Permanent(f"the network {name} is not ours", remedy=f"docker network rm {name}")


def _taken(client: docker.APIClient) -> Iterable[ipaddress.IPv4Network]:
    for network in client.networks():
        for config in (network.get("IPAM") or {}).get("Config") or ():
            try:
                yield ipaddress.IPv4Network(config.get("Subnet", ""))
            except ValueError:
                continue  # an IPv6 subnet, or none
