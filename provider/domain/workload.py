"""What runs: the values between the agent's decisions and whatever engine runs containers.

A ``Launch`` says all that an engine needs to start a lease; a ``Workload`` is what the engine says
really runs. Both name the lease, so that the two can be compared after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from provider.domain.ids import GpuUuid, LeaseId
from provider.domain.manifest import Proto, Service
from provider.domain.moment import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """A port of a service, published on a port of the host."""

    service: str
    port: int
    """Inside the container."""
    host_port: int
    external_port: int
    """As the tenant's SDL calls it."""
    proto: Proto = Proto.TCP


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLaunch:
    """One container to run."""

    service: Service
    replica: int
    """From 0 within its service."""
    gpus: tuple[GpuUuid, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    """Only replica 0 publishes ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything an engine must know to run a lease. Equal launches are the same workload."""

    lease: LeaseId
    generation: int
    """Counts the manifests of a lease from 1; a container of an older one is replaced."""
    replicas: tuple[ReplicaLaunch, ...]
    """In the order in which they start."""
    simulated_gpus: bool = False


class ContainerState(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container as the engine reports it."""

    service: str
    replica: int
    state: ContainerState
    id: str
    exit_code: int | None = None
    oom_killed: bool = False
    started_at: Instant | None = None
    finished_at: Instant | None = None
    problem: str | None = None
    """The engine's own words, if it has any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """All that the engine holds of one lease, containers sorted by service and replica.

    ``containers`` may be empty: then only a network or a volume is left.
    """

    lease: LeaseId
    generation: int
    containers: tuple[Container, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that a container wrote."""

    service: str
    replica: int
    at: Instant
    is_stderr: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOutput:
    """A piece of what an executed command printed, or, last, its exit status."""

    data: bytes = b""
    is_stderr: bool = False
    exit_code: int | None = None


class GpuAttachment(StrEnum):
    """How a container gets its GPUs."""

    CDI = "cdi"
    DEVICE_REQUEST = "device_request"
    ENVIRONMENT = "environment"
    """Simulated GPUs on an engine without CDI: named in the environment, nothing is attached."""
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCapabilities:
    """What an engine can do, as probed, never as guessed from its name."""

    engine: str
    """For people: ``docker 26.1.5``."""
    gpu_attachment: GpuAttachment
    gpu_problem: str | None = None
    """Why GPUs cannot be attached, one line; None where they can."""
    limits_storage: bool = False
    """Whether a replica's writable layer is held to its size by the engine."""
