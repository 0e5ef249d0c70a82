"""An operator's idle job on a real engine: its manifest, and where it is, seen past all that is ours."""

from __future__ import annotations

import docker

from provider.adapters.clock import SystemClock
from tests.e2e.leftovers import Filters
from tests.e2e.world import World, until

STUBBORN = "trap : TERM; while :; do sleep 0.2; done"
"""It is asked to end and does not: only the end of its grace ends it."""
IDLE = """---
version: "2.0"
services:
  mine:
    image: {image}
    command: [/bin/sh, -c]
    args: ["{script}"]
profiles:
  compute:
    mine:
      resources:
        cpu: {{units: 0.1}}
        memory: {{size: 32Mi}}
        storage: {{size: 32Mi}}
        gpu: {{units: 1, attributes: {{vendor: {{nvidia: }}}}}}
  placement:
    here: {{pricing: {{mine: {{denom: uact, amount: 1}}}}}}
deployment:
  mine: {{here: {{profile: mine, count: 1}}}}
"""


def idle_containers(world: World, engine: docker.DockerClient) -> dict[str, str]:
    """Those that run, by their card. A card that has two fails."""
    found: dict[str, str] = {}
    ours: Filters = {"label": f"gp.provider={world.provider_name}"}
    for each in engine.containers.list(filters=ours, ignore_removed=True):
        if each.labels["gp.lease"].startswith("idle@~/"):
            card = each.labels["gp.gpus"]
            assert card not in found, f"{card} has two"
            found[card] = str(each.id)
    return found


def runs_on(world: World, engine: docker.DockerClient, count: int) -> dict[str, str]:
    until(lambda: len(idle_containers(world, engine)) == count, f"the idle job on {count} card(s)")
    return idle_containers(world, engine)


def happened(engine: docker.DockerClient, since: int, container: str, action: str) -> int:
    """When, in nanoseconds."""
    seen = engine.events(
        since=since, until=SystemClock().now() // 1000 + 1, decode=True, filters={"event": action}
    )
    return next(int(each["timeNano"]) for each in seen if each["Actor"]["ID"] == container)
