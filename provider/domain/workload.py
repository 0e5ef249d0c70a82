"""What runs: the values between the agent's decisions and whatever engine runs containers.

A ``Launch`` says all that an engine needs to start a lease; a ``Workload`` is what the engine says
really runs. Both name the lease, so that the two can be compared after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Dependency:
    """``service`` is started after ``needs``, once that is ready or has had its time to become so."""

    service: str
    needs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLaunch:
    """One container to run."""

    service: Service
    replica: int
    """From 0 within its service."""
    generation: int = 1
    """Of the launch in which it last changed: a container of an older one is replaced."""
    gpus: tuple[GpuUuid, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    """Only replica 0 publishes ports."""
    hostnames: tuple[str, ...] = ()
    """That its service asks for; told to it, and otherwise the ingress's matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything an engine must know to run a lease. Equal launches are the same workload."""

    lease: LeaseId
    generation: int
    """Counts the changes of a lease's manifest from 1."""
    replicas: tuple[ReplicaLaunch, ...]
    """Services sorted by name, replicas by number."""
    dependencies: tuple[Dependency, ...] = ()
    """Without circles."""
    grace_s: int = 10
    """For containers that are replaced: between asking a process to end and ending it."""
    simulated_gpus: bool = False
    cpus: str = ""
    """The CPUs that all of it is held to, ``0-15,32-47``; empty for any."""
    memory_nodes: str = ""
    """The NUMA nodes whose memory alone it gets, ``1``; empty for any."""


class ContainerState(StrEnum):
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


class ExitCause(StrEnum):
    """Why a container does not run any more."""

    OWN = "own"
    """Its process ended."""
    OOM = "oom"
    """It used more memory than it has."""
    EVICTED = "evicted"
    """It used more disk than it has, and was ended for it."""
    GPU_LOST = "gpu_lost"
    """It runs, but a GPU of its own is not visible inside any more: only a new container cures that."""
    ENGINE = "engine"
    """The engine or the machine went down under it."""
    GONE = "gone"
    """Somebody removed it."""

    @property
    def is_own_doing(self) -> bool:
        """Whether the tenant's own workload is to blame."""
        return self in {ExitCause.OWN, ExitCause.OOM, ExitCause.EVICTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container as the engine reports it."""

    service: str
    replica: int
    state: ContainerState
    id: str
    generation: int = 1
    """As its launch had it."""
    exit_code: int | None = None
    cause: ExitCause | None = None
    """Set where it does not do its work any more: it exited, or lost its GPU."""
    pid: int | None = None
    """Of its first process, as the machine counts, while it runs."""
    address: str | None = None
    """In the lease's own network, while it runs."""
    is_ready: bool = True
    """Whether it listens on each port that it exposes; only ``look`` asks for it."""
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
    containers: tuple[Container, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that a container wrote."""

    service: str
    replica: int
    at_ns: int
    """UTC nanoseconds, as the engine noted it: no two lines of a stream have the same."""
    is_stderr: bool
    text: str

    @property
    def at(self) -> Instant:
        return Instant(self.at_ns // 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatch:
    """Lines of one replica and one of its streams that came together, in order, never none of them.

    In columns, because a busy log has hundreds of thousands of lines a second and a value for each would
    cost more than all the rest of their way.
    """

    service: str
    replica: int
    is_stderr: bool
    at_ns: tuple[int, ...]
    text: bytes
    """As written, joined by line ends: one more line than there are of these."""

    def last(self, count: int) -> LogBatch:
        """The last ``count`` lines, of which there is at least one; all where there are not more."""
        if count >= len(self.at_ns):
            return self
        text = b"\n".join(self.text.split(b"\n")[-count:])
        return replace(self, at_ns=self.at_ns[-count:], text=text)

    def lines(self) -> tuple[LogLine, ...]:
        """One by one, for people and tests."""
        texts = self.text.split(b"\n")
        return tuple(
            LogLine(
                service=self.service,
                replica=self.replica,
                at_ns=at_ns,
                is_stderr=self.is_stderr,
                text=text.decode(errors="replace"),
            )
            for at_ns, text in zip(self.at_ns, texts, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOutput:
    """A piece of what an executed command printed, or, last, its exit status."""

    data: bytes = b""
    is_stderr: bool = False
    exit_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """An image on its way to a lease."""

    image: str
    done_bytes: int = 0
    total_bytes: int | None = None
    """None while it is not known."""


class GpuAttachment(StrEnum):
    """How a container gets its GPUs."""

    CDI = "cdi"
    DEVICE_REQUEST = "device_request"
    ENVIRONMENT = "environment"
    """Simulated GPUs on an engine without CDI: named in the environment, nothing is attached."""
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """A part of the engine that strangers must not be let onto: too old, or missing."""

    part: str
    """``runc``."""
    found: str
    """``1.1.5``."""
    required: str
    """``1.2.8 or newer``."""
    why: str
    """``CVE-2024-21626``."""
    only_for_gpus: bool = False
    is_allowed: bool = False
    """The operator lets it be used all the same."""

    def __str__(self) -> str:
        return f"{self.part} {self.found}: {self.why}; safe is {self.required}"


class Enforcement(StrEnum):
    """What holds a volume of persistent storage to its size."""

    FILE = "file"
    """A file system of its own, in a file."""
    PROJECT = "project"
    """A directory under a project quota of the disk's own file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClass:
    """A class of persistent storage that is offered."""

    name: str
    """``beta2``."""
    disk: str
    """Classes of one disk share its bytes, also with whatever else is on it."""
    capacity_bytes: int
    """Of that disk, for leases: what is free, and what volumes of leases hold of it already."""
    enforced_by: Enforcement = Enforcement.FILE
    """Of volumes that are made from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeCapabilities:
    """What an engine can do, as probed, never as guessed from its name."""

    engine: str
    """For people: ``docker 26.1.5``."""
    gpu_attachment: GpuAttachment
    gpu_problem: str | None = None
    """Why GPUs cannot be attached, one line; None where they can."""
    limits_storage: bool = False
    """Whether a replica's writable layer is held to its size by the engine, as tried; else it is measured."""
    storage_classes: tuple[StorageClass, ...] = ()
    """Of persistent storage, those that are offered, sorted by name."""
    storage_problem: str | None = None
    """Why there is no persistent storage, one line; None where there is."""
    storage_refused: tuple[str, ...] = ()
    """Classes that the operator offers and that cannot be had as asked for, a line each with why."""
    layers_disk: str = ""
    """Of images and containers' layers, named as in ``StorageClass``; empty where it is not known."""
    unfit: tuple[Unfit, ...] = ()
    """What is not fit for strangers, allowed or not."""
