"""Containers: making them once, and reading what the engine says of them.

Invariant: a container counts as the wanted one only when lease, generation and spec hash on its labels say
so; anything else under its name is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import docker
import docker.errors

from provider.adapters.runtime import naming
from provider.adapters.runtime.readiness import from_label
from provider.adapters.sockets import Listening
from provider.domain.errors import Permanent
from provider.domain.ids import LeaseId, ProviderId
from provider.domain.moment import SECOND, Instant, Span
from provider.domain.workload import Container, ContainerState, ExitCause, Workload

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ENGINE_RESTARTS = Span(30 * SECOND)
"""An exit so near to the engine's start is the engine's doing: it waits 10 s for containers that it stops."""
_STATES = {
    "created": ContainerState.CREATED,
    "running": ContainerState.RUNNING,
    "paused": ContainerState.RUNNING,
    "restarting": ContainerState.RUNNING,
}
"""The rest (``exited``, ``dead``, ``removing``) has exited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A container of ours, as the engine's list has it."""

    id: str
    lease: LeaseId
    service: str
    replica: int
    generation: int
    spec: str
    state: ContainerState
    is_going: bool
    """Being removed, or stuck in that."""
    address: str | None = None
    """In its lease's network, while it runs."""
    ports: tuple[Listening, ...] = ()
    """That it exposes."""
    published: frozenset[tuple[str, int]] = frozenset()
    """Protocol and port of the host, while it runs."""


def find(client: docker.APIClient, labels: Mapping[str, str]) -> list[Found]:
    """Those that carry all of ``labels``, by lease, service and replica.

    From the engine's list alone: inspecting each would raise for every one that is removed meanwhile.
    """
    listed: list[dict[str, Any]] = client.containers(all=True, filters={"label": filters(labels)})
    found = []
    for told in listed:
        marks: dict[str, str] = told.get("Labels") or {}
        lease = naming.lease_of(marks)
        if lease is not None:
            found.append(
                Found(
                    id=told["Id"],
                    lease=lease,
                    service=marks.get(naming.SERVICE, ""),
                    replica=naming.number(marks, naming.REPLICA),
                    generation=naming.number(marks, naming.GENERATION),
                    spec=marks.get(naming.SPEC, ""),
                    state=_STATES.get(told.get("State", ""), ContainerState.EXITED),
                    is_going=told.get("State") in {"dead", "removing"},
                    address=_address(told),
                    ports=from_label(marks.get(naming.PORTS, "")),
                    published=_published(told),
                )
            )
    return sorted(found, key=lambda each: (each.lease, each.service, each.replica))


def _address(told: Mapping[str, Any]) -> str | None:
    networks = (told.get("NetworkSettings") or {}).get("Networks") or {}
    return next((str(each["IPAddress"]) for each in networks.values() if each.get("IPAddress")), None)


def _published(told: Mapping[str, Any]) -> frozenset[tuple[str, int]]:
    listed: Sequence[Mapping[str, Any]] = told.get("Ports") or ()
    return frozenset(
        (str(each["Type"]), int(each["PublicPort"])) for each in listed if each.get("PublicPort")
    )


def filters(labels: Mapping[str, str]) -> list[str]:
    """``labels`` as the engine's filter: all must be there."""
    return [f"{name}={text}" for name, text in labels.items()]


def leases_left(client: docker.APIClient, provider: ProviderId) -> frozenset[LeaseId]:
    """Leases of which a network or a volume is there."""
    wanted = {"label": filters({naming.PROVIDER: provider})}
    networks: list[dict[str, Any]] = client.networks(filters=wanted)
    volumes: list[dict[str, Any]] = client.volumes(filters=wanted).get("Volumes") or []
    leases = (naming.lease_of(each.get("Labels")) for each in (*networks, *volumes))
    return frozenset(lease for lease in leases if lease is not None)


def create(client: docker.APIClient, name: str, config: Mapping[str, object]) -> str:
    """Make a container under ``name``, in place of any other of ours that has it; its id."""
    try:
        return _create(client, name, config)
    except docker.errors.APIError as error:
        if error.status_code != 409:
            raise
    # Somebody made one between our look and now: an agent before us that was killed in the act.
    told = client.inspect_container(name)
    marks = told["Config"].get("Labels") or {}
    wanted: Mapping[str, str] = config["Labels"]  # type: ignore[assignment]
    if all(marks.get(label) == text for label, text in wanted.items()):
        return str(told["Id"])
    if marks.get(naming.PROVIDER) != wanted[naming.PROVIDER]:
        raise Permanent(f"the container {name} is not ours", remedy=f"docker rm {name}")
    remove(client, name)
    return _create(client, name, config)


def _create(client: docker.APIClient, name: str, config: Mapping[str, object]) -> str:
    return str(client.create_container_from_config(config, name)["Id"])  # type: ignore[no-untyped-call]


def start(client: docker.APIClient, container: str) -> bool:
    """Fine when it runs (the engine answers 304). False when it, or its network, is gone."""
    try:
        client.start(container)
    except docker.errors.NotFound as error:
        if "no such" in str(error.explanation).lower() or "network" in str(error.explanation):
            return False
        raise
    return True


def kill(client: docker.APIClient, container: str) -> None:
    """Fine when it does not run (the engine answers 409) or is gone."""
    try:
        client.kill(container)
    except docker.errors.APIError as error:
        if error.status_code not in {404, 409}:
            raise


def remove(client: docker.APIClient, container: str) -> None:
    """With its anonymous volumes, running or not. Fine when it is gone; waits when it is going."""
    try:
        client.remove_container(container, v=True, force=True)
    except docker.errors.APIError as error:
        if error.status_code == 404:
            return
        if "in progress" not in str(error.explanation):
            raise
        _await_removal(client, container)


def _await_removal(client: docker.APIClient, container: str) -> None:
    try:
        client.wait(container, condition="removed")
    except docker.errors.NotFound:
        return


def inspect(client: docker.APIClient, found: Found, began: Instant | None) -> Container | None:
    """All that the engine, which began at ``began``, knows of it; None when it is gone by now."""
    try:
        told = client.inspect_container(found.id)
    except docker.errors.NotFound:
        return None
    return described(found, told["State"], began)


def pid_of(client: docker.APIClient, container: str) -> int:
    """Of its first process, on the host; 0 when it does not run."""
    try:
        return int(client.inspect_container(container)["State"].get("Pid") or 0)
    except docker.errors.NotFound:
        return 0


def described(found: Found, told: Mapping[str, Any], began: Instant | None = None) -> Container:
    """From the ``State`` of ``GET /containers/{id}/json``.

    ``OOMKilled`` is also set when only a child was killed and the container went on to end well, so it
    counts only beside a status that is not 0.
    """
    state = _STATES.get(told["Status"], ContainerState.EXITED)
    exited = state is ContainerState.EXITED
    code = int(told.get("ExitCode") or 0)
    finished_at = instant(told.get("FinishedAt")) if exited else None
    cause = None
    if exited:
        oom = bool(told.get("OOMKilled")) and code != 0
        cause = ExitCause.OOM if oom else _cause(code, finished_at, began)
    return Container(
        service=found.service,
        replica=found.replica,
        state=state,
        id=found.id,
        generation=found.generation,
        exit_code=code if exited else None,
        cause=cause,
        pid=int(told.get("Pid") or 0) or None,
        address=found.address if state is ContainerState.RUNNING else None,
        started_at=instant(told.get("StartedAt")),
        finished_at=finished_at,
        problem=str(told.get("Error") or "") or None,
    )


def _cause(code: int, finished_at: Instant | None, began: Instant | None) -> ExitCause:
    """Its own, unless the engine went down or came up about then and the status is what that leaves behind.

    An engine that stops asks containers to end (0, 143) and ends them (137); what ended while it was down
    it reports as 255, at the time it came up (seen on 20.10 and 26.1).
    """
    if finished_at is None or began is None or code not in {0, 137, 143, 255}:
        return ExitCause.OWN
    return ExitCause.ENGINE if abs(finished_at - began) <= ENGINE_RESTARTS else ExitCause.OWN


def workload(lease: LeaseId, found: Sequence[Found], described: Mapping[str, Container]) -> Workload:
    """Of one lease, ``described`` by id."""
    there = [each for each in found if each.id in described]
    return Workload(
        lease=lease,
        containers=tuple(
            sorted((described[each.id] for each in there), key=lambda each: (each.service, each.replica))
        ),
    )


def instant(text: object) -> Instant | None:
    """From the engine's RFC 3339 with nanoseconds; None for its year 1, which means never."""
    if not isinstance(text, str) or text.startswith("0001-"):
        return None
    return Instant((datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1))
