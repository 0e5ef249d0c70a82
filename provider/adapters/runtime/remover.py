"""The way down: everything that is labelled with a lease, removed, whatever state it is in.

Order: containers asked to end; then, a few leases at once, containers, network, volumes, the spec of
simulated GPUs.
Invariant: each step is fine with its work done already, so that it can be taken again from the start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import docker
import docker.errors

from provider.adapters.runtime import containers, ending, naming
from provider.adapters.runtime.engine import Engine, together
from provider.adapters.runtime.launcher import forget_gpus
from provider.adapters.runtime.storage.volumes import Volumes
from provider.adapters.runtime.turns import Turns
from provider.domain.errors import Temporary
from provider.domain.ids import LeaseId
from provider.domain.moment import Span, after
from provider.ports import Clock

AT_ONCE = 4
"""Leases: twenty together are gone a tenth sooner by this than all at once."""
TRIES = 50
PAUSE = Span(100)
"""What leaves a network or a volume does so a little after its container is gone."""


class Remover:
    """Takes leases down on one engine."""

    def __init__(self, engine: Engine, clock: Clock, volumes: Volumes) -> None:
        self._engine = engine
        self._clock = clock
        self._volumes = volumes
        self._turns = Turns(AT_ONCE)

    async def remove(self, lease: LeaseId, grace_s: int) -> None:
        """All of ``lease``. ``Temporary`` when something of it is still there in the end."""
        engine = self._engine
        labels = naming.lease_labels(engine.settings.provider, lease)
        found = await engine.call(f"looking for {lease}", lambda api: containers.find(api, labels))
        if grace_s > 0:
            await together(*(ending.ask_to_end(engine, each, grace_s) for each in found))
        wanted = {"label": containers.filters(labels)}
        async with self._turns.turn():
            await together(*(ending.remove(engine, each) for each in found))
            await together(
                self._until_gone(f"removing the network of {lease}", lambda api: _networks(api, wanted)),
                self._until_gone(f"removing the volumes of {lease}", lambda api: _volumes(api, wanted)),
                forget_gpus(engine, lease),
            )
        # Last: until the engine has let go of a volume its file cannot.
        await self._volumes.remove(lease)

    async def _until_gone(self, doing: str, action: Callable[[docker.APIClient], bool]) -> None:
        for _ in range(TRIES):
            if await self._engine.call(doing, action):
                return
            await self._clock.sleep_until(after(self._clock.now(), PAUSE))
        raise Temporary(f"{doing}: still in use", remedy="docker network inspect, docker volume inspect")


def _networks(client: docker.APIClient, wanted: dict[str, Any]) -> bool:
    """Remove them; whether none is left. What somebody else connected is disconnected first."""
    gone = True
    for network in client.networks(filters=wanted):
        try:
            client.remove_network(network["Id"])
        except docker.errors.NotFound:
            continue
        except docker.errors.APIError as error:
            if "active endpoints" not in str(error.explanation):
                raise
            gone = False
            _disconnect(client, network["Id"])
    return gone


def _disconnect(client: docker.APIClient, network: str) -> None:
    try:
        told = client.inspect_network(network).get("Containers") or {}
    except docker.errors.NotFound:
        return
    for container, endpoint in told.items():
        # An engine that was killed while a container ended keeps the endpoint, and knows it by name only.
        for name in (container, endpoint["Name"]):
            try:
                client.disconnect_container_from_network(name, network, force=True)
            except docker.errors.APIError as error:
                if error.status_code not in {403, 404}:
                    raise
            else:
                break


def _volumes(client: docker.APIClient, wanted: dict[str, Any]) -> bool:
    gone = True
    for volume in client.volumes(filters=wanted).get("Volumes") or []:
        try:
            client.remove_volume(volume["Name"])
        except docker.errors.NotFound:
            continue
        except docker.errors.APIError as error:
            if error.status_code != 409:
                raise
            gone = False
    return gone
