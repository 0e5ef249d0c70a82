"""What an operator decides about the engine and the containers in it. Values only."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from provider.adapters.runtime.advisories import Part
from provider.adapters.runtime.egress.settings import NetworkSettings
from provider.adapters.runtime.images.settings import ImageSettings
from provider.adapters.runtime.kept_log_settings import KeptLogSettings
from provider.adapters.runtime.storage.settings import StorageSettings
from provider.domain.errors import ConfigError
from provider.domain.ids import ProviderId
from provider.domain.resources import GIB, MIB

UNIX = "unix://"
PLAIN_RUNTIME = "runc"
"""The OCI runtime that every engine has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerSettings:
    """Checked when made: ``ConfigError`` names the setting that is wrong."""

    provider: ProviderId
    """On every label: two providers on one engine do not see each other's leases."""
    socket: str = "unix:///var/run/docker.sock"
    """Always given explicitly: the SDK's own default would follow the CLI's contexts."""
    simulated_gpus: bool = False
    """Whether the GPUs for sale are simulated; decides what ``capabilities`` reports about attaching."""
    bind_address: str = "0.0.0.0"  # noqa: S104 - the leases' ports are for the world; an operator may narrow it
    """Of the host, on which leases' ports are published."""
    subnet_pool: str = "10.213.0.0/16"
    """One subnet of at least 16 addresses a lease is cut from it: room for 4096 leases."""
    public_hostname: str = ""
    """What tenants know the host by; empty when it has no name."""
    images: ImageSettings = field(default_factory=ImageSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    oci_runtime: str = PLAIN_RUNTIME
    """Set on every container: an engine whose default is another one may attach GPUs unasked."""
    allow_unsafe: frozenset[Part] = frozenset()
    """May be older than what is safe for strangers."""
    nvidia_hook: str = "nvidia-container-runtime-hook"
    """The program whose presence lets the engine serve ``nvidia`` device requests."""
    cdi_vendor_class: str = "nvidia.com/gpu"
    """The CDI kind under which the GPUs' UUIDs are looked up."""
    pids_limit: int = 4096
    shm_bytes_max: int = 8 * GIB
    """``/dev/shm`` is half of the memory, at most this; it is charged to the container."""
    log_file_bytes: int = 10 * MIB
    log_files: int = 3
    kept_logs: KeptLogSettings | None = None
    """None: nothing is kept of a container that is removed."""
    copy_bytes_most: int = 10 * GIB
    """Of one archive in or out of a container."""
    call_timeout_s: int = 60
    """For one call to the engine that is not a pull."""
    pull_stall_s: int = 120
    """A pull in which nothing arrives for that long is given up."""
    pull_timeout_s: int = 3600
    pulls_at_once: int = 2
    threads: int = 32
    """Calls to the engine at once."""

    def __post_init__(self) -> None:
        if not self.socket.startswith(UNIX + "/"):
            raise ConfigError(
                f"{self.socket!r} is not a socket of an engine on this machine",
                remedy="write it like unix:///var/run/docker.sock",
            )
        try:
            pool = ipaddress.IPv4Network(self.subnet_pool)
            ipaddress.ip_address(self.bind_address)
        except ValueError as error:
            raise ConfigError(
                f"a network setting is wrong: {error}", remedy="a pool is like 10.213.0.0/16"
            ) from error
        if pool.prefixlen > 24 or not pool.is_private:
            raise ConfigError(
                f"the subnet pool {pool} is too small or not private", remedy="use a /16 of 10.0.0.0/8"
            )

    @property
    def socket_path(self) -> str:
        return self.socket.removeprefix(UNIX)
