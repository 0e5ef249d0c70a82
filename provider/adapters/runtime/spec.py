"""A replica of a manifest as the engine's container configuration. Pure.

Built from a whitelist: every key that an engine takes is set here or left at the engine's default, and
nothing that a tenant wrote is merged in as it is. Keys and meanings: Docker Engine API, "Create a
container".

Invariant: no privilege, host namespace, device, kernel setting, socket or path of the host can come from
a tenant; what a tenant or an image says about GPUs (``NVIDIA_*``) has no effect.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from provider.adapters.runtime import mounts, naming, readiness, seccomp
from provider.adapters.runtime.gpus import Attachment
from provider.adapters.runtime.settings import DockerSettings
from provider.domain.manifest import Service
from provider.domain.workload import Launch, ReplicaLaunch

Json = dict[str, object]

CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
    "AUDIT_WRITE",
    "NET_BIND_SERVICE",
)
"""What dpkg, apt, sshd and su need inside, found by leaving each of Docker's 14 out in turn."""
OPEN_FILES = 65_536
OPEN_FILES_MAX = 1_048_576
OOM_SCORE = 500
"""Tenants are killed before the agent and the engine."""
OOM_SCORE_IDLE = 1000
"""And the operator's idle job before any tenant: its memory is for sale."""
SHM = "/dev/shm"  # noqa: S108 - the container's, not a place for temporary files
SHM_BYTES_MIN = 64 * 1024 * 1024
APPARMOR_PROFILE = "docker-default"
"""Loaded by the engine itself; named, so that no other default of the engine's takes its place."""
MASKED_PATHS = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats"),
    *("/sys/devices/virtual/powercap", "/sys/firmware"),
)
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""What the engine 26.1 hides and protects by default, on older ones too; and the counts of interrupts."""
CPU_MILLIS_MIN = 10
"""The engine takes no less than 0.01 CPUs."""
CPU_SHARES_MIN, CPU_SHARES_MAX = 2, 262_144
"""The kernel's own bounds (MIN_SHARES, MAX_SHARES); 0 would be the engine's default, a whole core's."""
RESERVED = ("NVIDIA_", "PROVIDER_")
"""Environment that a tenant cannot set: it would ask for GPUs, or pass for ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a container is built on besides the launch: engine, image, GPUs."""

    settings: DockerSettings
    attachment: Attachment
    image: str = ""
    """Id of the image that the service's name stands for; empty for whatever the engine takes it for."""
    dns: tuple[str, ...] = ()
    """Addresses of resolvers; empty for the engine's own choice."""
    image_volumes: tuple[str, ...] = ()
    """Paths that the image declares as volumes."""
    places: Mapping[str, Path] = field(default_factory=dict)
    """Where volumes of ours are mounted, by the tenant's name or the image's path."""
    image_gpu_env: tuple[str, ...] = ()
    """Names of the ``NVIDIA_*`` environment that the image declares."""
    open_files: int = OPEN_FILES_MAX
    """The most that the engine can give."""
    limits_storage: bool = False
    """Whether the engine can limit the writable layer."""
    has_apparmor: bool = False
    """Whether the kernel has it and the engine uses it."""
    cpus: int | None = None
    """Cores of the engine's machine; None where it does not tell."""


def spec_hash(launch: Launch, replica: ReplicaLaunch) -> str:
    """16 hex digits: equal where an existing container is what is wanted.

    Taken over what was asked for, not over what it is made into, so that neither a newer image behind the
    same tag nor a newer agent replaces a container that runs.
    """
    service = replica.service
    asked = [
        [service.image, service.command, service.args, service.env],
        [service.resources.cpu_millis, service.resources.memory_bytes],
        [[volume.name, volume.size_bytes, volume.storage_class] for volume in service.resources.storage],
        [[mount.name, mount.mount, mount.read_only] for mount in mounts.points(service)],
        [[binding.port, binding.host_port, binding.proto] for binding in replica.ports],
        [replica.gpus, launch.simulated_gpus],
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def container_config(launch: Launch, replica: ReplicaLaunch, ground: Ground) -> Json:
    """The body of ``POST /containers/create``."""
    service = replica.service
    network = naming.network_name(launch.lease)
    return {
        "Image": ground.image or service.image,
        "Hostname": f"{service.name}-{replica.replica}"[:63],
        "Entrypoint": None if service.command is None else list(service.command),
        "Cmd": None if service.args is None else list(service.args),
        "Env": list(environment(launch, replica, ground)),
        "Labels": _labels(launch, replica, ground),
        "ExposedPorts": {f"{port.port}/{port.proto.lower()}": {} for port in replica.ports},
        "Healthcheck": {"Test": ["NONE"]},
        "Tty": False,
        "OpenStdin": False,
        "HostConfig": _host_config(launch, replica, ground),
        "NetworkingConfig": {
            "EndpointsConfig": {network: {"Aliases": [service.name, f"{service.name}-{replica.replica}"]}}
        },
    }


def environment(launch: Launch, replica: ReplicaLaunch, ground: Ground) -> Iterable[str]:
    """``NAME=value``: the market's names, over them the tenant's, over them ours; ``NAME`` takes one away."""
    lease = launch.lease
    tenants: dict[str, str] = {}
    for line in replica.service.env or ():
        name, _, text = line.partition("=")
        if name and not name.startswith(RESERVED):
            tenants[name] = text
    markets = {} if lease.is_idle else _markets(launch, ground)
    ours = {
        "PROVIDER_LEASE": "" if lease.is_idle else str(lease.as_told),
        "PROVIDER_SERVICE": replica.service.name,
        "PROVIDER_REPLICA": str(replica.replica),
        "PROVIDER_HOSTNAMES": ",".join(replica.hostnames),
        **dict(ground.attachment.environment),
    }
    said = [f"{name}={text}" for name, text in (markets | tenants | ours).items() if text or name in tenants]
    return [*said, *(name for name in ground.image_gpu_env if name not in ours)]


def _markets(launch: Launch, ground: Ground) -> dict[str, str]:
    """Akash sets these unless the tenant did (cluster/kube/builder, "addIfNotPresent")."""
    lease = launch.lease
    return {
        "AKASH_GROUP_SEQUENCE": str(lease.gseq),
        "AKASH_DEPLOYMENT_SEQUENCE": str(lease.dseq),
        "AKASH_ORDER_SEQUENCE": str(lease.oseq),
        "AKASH_OWNER": lease.as_told.owner,
        "AKASH_PROVIDER": lease.provider,
        "AKASH_CLUSTER_PUBLIC_HOSTNAME": ground.settings.public_hostname,
    }


def _labels(launch: Launch, replica: ReplicaLaunch, ground: Ground) -> dict[str, str]:
    return naming.lease_labels(ground.settings.provider, launch.lease) | {
        naming.SERVICE: replica.service.name,
        naming.REPLICA: str(replica.replica),
        naming.GENERATION: str(replica.generation),
        naming.SPEC: spec_hash(launch, replica),
        naming.GPUS: ",".join(replica.gpus),
        naming.LAYER_BYTES: str(mounts.measured_bytes(replica.service, ground.places)),
        naming.PORTS: readiness.as_label(readiness.exposed(replica.service)),
        naming.SIMULATED: str(launch.simulated_gpus and bool(replica.gpus)).lower(),
    }


def _host_config(launch: Launch, replica: ReplicaLaunch, ground: Ground) -> Json:
    settings, resources = ground.settings, replica.service.resources
    seen = mounts.container_mounts(launch, replica, settings.provider, ground.image_volumes, ground.places)
    # A ram volume is charged to the container, so it comes on top, as on Akash.
    memory = resources.memory_bytes + sum(each.size_bytes for each in resources.storage if each.is_ram)
    config: Json = {
        "Runtime": settings.oci_runtime,
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": list(CAPABILITIES),
        "SecurityOpt": list(_security_options(ground)),
        "MaskedPaths": list(MASKED_PATHS),
        "ReadonlyPaths": list(READONLY_PATHS),
        "PidsLimit": settings.pids_limit,
        "Memory": memory,
        "MemorySwap": memory,
        "MemorySwappiness": 0,
        "OomScoreAdj": OOM_SCORE_IDLE if launch.lease.is_idle else OOM_SCORE,
        **_cpus(launch, resources.cpu_millis, ground),
        "Ulimits": [
            {"Name": "nofile", "Soft": min(OPEN_FILES, ground.open_files), "Hard": ground.open_files},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "ShmSize": _shm_bytes(replica.service)
        or max(SHM_BYTES_MIN, min(memory // 2, settings.shm_bytes_max)),
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Init": True,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": str(settings.log_file_bytes), "max-file": str(settings.log_files)},
        },
        "NetworkMode": naming.network_name(launch.lease),
        "Dns": list(ground.dns),
        "PortBindings": {
            f"{port.port}/{port.proto.lower()}": [
                {"HostIp": settings.bind_address, "HostPort": str(port.host_port)}
            ]
            for port in replica.ports
        },
        "Mounts": [each for each in seen if each["Type"] != "tmpfs" or not _is_shm(each["Target"])],
        "DeviceRequests": [dict(request) for request in ground.attachment.requests],
    }
    if ground.limits_storage:
        config["StorageOpt"] = {"size": str(mounts.layer_bytes(replica.service))}
    return config


def _cpus(launch: Launch, rented_millis: int, ground: Ground) -> Json:
    # The idle job gets what no lease wants: its cores are for sale.
    weight = 0 if launch.lease.is_idle else rented_millis * 1024 // 1000
    return {
        "NanoCpus": _cpu_millis(rented_millis, ground) * 1_000_000,
        # Where cores are short each gets its part of them: 1024 is the engine's weight of one core.
        "CpuShares": min(max(weight, CPU_SHARES_MIN), CPU_SHARES_MAX),
        "CpusetCpus": launch.cpus,
        "CpusetMems": launch.memory_nodes,
    }


def _cpu_millis(rented: int, ground: Ground) -> int:
    """What the engine takes: cores that are promised several times over may be more than there are."""
    most = rented if ground.cpus is None else ground.cpus * 1000
    return max(min(rented, most), CPU_MILLIS_MIN)


def _security_options(ground: Ground) -> Iterable[str]:
    # Inline: an engine takes a path only from its own command line.
    yield from ("no-new-privileges:true", f"seccomp={seccomp.profile()}")
    if ground.has_apparmor:
        yield f"apparmor={APPARMOR_PROFILE}"


def _is_shm(target: object) -> bool:
    """A ram volume where every container has one anyway: it only says how large that is."""
    return str(target).rstrip("/") == SHM


def _shm_bytes(service: Service) -> int | None:
    """What the tenant asked for; None where it said nothing."""
    asked = {point.name for point in mounts.points(service) if _is_shm(point.mount)}
    return next(
        (each.size_bytes for each in service.resources.storage if each.is_ram and each.name in asked), None
    )
