"""The operator's configuration: every setting, its default and what it means. Values only.

Reading it from a file and the environment is ``config_reading``'s. Every setting is listed in
``docs/configuration.md``, which a test holds to this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from provider.app.bidding_config import BiddingConfig
from provider.domain.secret import Secret
from provider.sim.gpu import SimulatedGpus

DEFAULT_PATH = Path("/etc/provider/provider.yaml")
ENV_PREFIX = "PROVIDER_"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuConfig:
    """Where GPUs come from."""

    simulate: tuple[SimulatedGpus, ...] = ()
    """Offer these instead of real ones."""
    nvml_library: str | None = None
    """Path of libnvidia-ml.so.1 where the loader does not find it."""
    interval_s: float = 2.0
    """Between two readings."""
    medium_s: float = 10.0
    """Between two looks at what changes slowly: error counters, links, widths, modes."""
    discover_every_s: float = 60.0
    """Between two looks at which cards there are, and what each is."""
    kernel_log: Path | None = Path("/dev/kmsg")
    """Errors of GPUs are read here too, where permitted; none to leave it alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """How GPUs are judged. The table itself is not for choosing: docs/operating.md."""

    hold_s: float = 300.0
    """So long the opposite of what held against a card must be so before it does not any more."""
    check_s: float = 60.0
    """After a lease, until a card that is not clean counts as degraded."""
    heat: bool = True
    """Judge temperatures and slowdowns by heat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageConfig:
    """What leases use, as it is shown; nothing is billed from it."""

    interval_s: float = 2.0
    """Between two readings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeConfig:
    """The container engine and what tenants get of the network."""

    docker: str = "unix:///var/run/docker.sock"
    publish_address: str = "0.0.0.0"  # noqa: S104 - tenants' ports are for the world
    """Host address on which tenants' ports are published."""
    public_host: str = ""
    """Name or address by which tenants reach those ports; empty: the host part of lease.advertise."""
    ports: str = "31000-31999"
    """Host ports for tenants, both ends included."""
    subnets: str = "10.213.0.0/16"
    """Lease networks are cut from this."""
    allow_unsafe: tuple[str, ...] = ()
    """Bid although these are older than what is safe for strangers: engine, runc, toolkit."""
    sandbox: str = ""
    """OCI runtime of the engine for tenants' containers, such as runsc; empty for runc."""
    pids_limit: int = 4096
    """Processes and threads of one container."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """Which images tenants may use, and how many are kept. Patterns are globs over host/repository."""

    allow: tuple[str, ...] = ()
    """Registries (ghcr.io) and repositories (docker.io/library/*) that tenants may use; empty: all."""
    deny: tuple[str, ...] = ()
    """Those that they may not, whatever allow says."""
    private_registries: tuple[str, ...] = ()
    """Registries, host:port, that may be at a private or loopback address."""
    mirrors: Mapping[str, str] = field(default_factory=dict)
    """By registry (docker.io): host:port of one that is asked first."""
    local: tuple[str, ...] = ()
    """Images of this machine that every tenant may use without a registry being asked."""
    prepull: tuple[str, ...] = ()
    """Pulled when the daemon starts, and kept."""
    size_most_gib: int = 100
    """The largest image that is pulled, as it is transferred; 0: no limit."""
    disk_keep_gib: int = 2
    """A pull that would leave less free on the engine's disk is given up."""
    collect_above_percent: int = 85
    """Of the engine's disk in use: from there on unused images are removed."""
    collect_below_percent: int = 80
    """Removed until that is reached."""
    collect_min_age_s: int = 120
    """Since its last use, before an image is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """What leases reach of the network, and how fast."""

    filter: bool = True
    """Keep leases from this host, its network and each other."""
    allow: tuple[str, ...] = ()
    """Reached although private: CIDR, with ports after a colon."""
    deny: tuple[str, ...] = ()
    """Not reached although public; goes over allow."""
    dns: tuple[str, ...] = ()
    """Resolvers of the containers; empty: the host's own."""
    smtp: bool = False
    """Let leases reach port 25 of the internet."""
    download_mbit: int = 0
    """Most a second towards one lease; 0 for no limit."""
    upload_mbit: int = 0
    """Most a second from one lease; 0 for no limit."""
    connections_most: int = 4096
    """Of one lease at once; 0 for no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """Persistent storage, and the watch over what is not."""

    classes: Mapping[str, Path] | None = None
    """Classes of persistent storage that are offered, and a folder for each; none: what the disk under the
    state folder is. ``{}`` offers no persistent storage."""
    enforced_by: str = "auto"
    """What holds these volumes to their size: ``file``, ``project``, or what each class's disk can do."""
    project_ids: str = "2000000000-2000065535"
    """Project ids for volumes, both ends included; nothing else may use them."""
    measure_s: float = 15.0
    """Between two looks at what containers have written beside their volumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReserveConfig:
    """What the operator keeps of the machine."""

    cpu_millis: int = 500
    memory_bytes: int = 1_073_741_824
    storage_bytes: int = 10_737_418_240


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressConfig:
    """HTTP ports under host names."""

    domain: str = ""
    """Leases get names under it; empty: no ingress, HTTP ports are published like any other."""
    http: str = "0.0.0.0:80"
    https: str = "0.0.0.0:443"
    tls: str = "none"
    """none, internal (an authority of this daemon's own) or acme (Let's Encrypt)."""
    acme_email: str = ""
    certificate: Path | None = None
    """Chain in PEM for the names that it covers, such as a wildcard's."""
    key: Path | None = None
    caddy: str = "caddy"
    """Program, 2.6 or newer."""
    user: str = "nobody"
    """Whom it runs as."""
    blocked: tuple[str, ...] = ()
    """Names that no tenant gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseConfig:
    """Where tenants reach their leases (logs, shell, manifest)."""

    listen: str = "0.0.0.0:8443"
    advertise: str = ""
    """host:port as tenants can reach it; empty: this machine's name and the listening port; ``none``: they
    cannot, and come through the coordinator."""
    copy_gib_most: int = 10
    """The largest archive that is copied in or out of a container at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketConfig:
    """Where tenants of a market that was not the first to be joined reach their leases.

    They trust that market's authority only: the certificate shown to them is another one, and so is the port.
    """

    listen: str = ""
    """Empty: no port, they come through the coordinator."""
    advertise: str = ""
    """host:port as they can reach it; empty: this machine's name and the listening port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsConfig:
    """What is kept of a lease's logs and events once its containers, or all of it, are gone."""

    keep_mib: int = 8
    """Of each container that is removed, its last lines; 0: nothing."""
    keep_s: int = 86_400
    """After a lease has ended."""
    disk_mib: int = 1024
    """Of all leases' logs, compressed; then the oldest go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerConfig:
    """What is kept of decisions on orders, for ``provider bids``, ``why`` and ``simulate``."""

    rows_most: int = 100_000
    """Records; an order that is refused makes two, one that is won about six."""
    keep_days: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryConfig:
    """The Prometheus endpoint."""

    listen: str = "127.0.0.1:9464"
    token: Secret | None = None
    """Bearer token that scrapes must carry."""
    certificate: Path | None = None
    """Chain in PEM; with it metrics are served over TLS."""
    key: Path | None = None
    client_ca: Path | None = None
    """Authority whose certificates scrapers must show."""
    dcgm: bool = False
    """Serve the cards under dcgm-exporter's names too, at /metrics/dcgm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorConfig:
    """What running something costs, so that no bid is below it; in the currency of the prices."""

    kwh: Decimal = Decimal(0)
    """Of a kilowatt-hour of electricity."""
    kwh_by_hour: Mapping[str, Decimal] = field(default_factory=dict)
    """By span of the week (``22-6``, ``mon-fri 7-20``), over ``kwh``."""
    timezone: str = "UTC"
    """In which those hours are."""
    gpu_watts: Mapping[str, Decimal] = field(default_factory=dict)
    """By card; others draw their power limit."""
    watts: str = "nameplate"
    """What a card is taken to draw: nameplate (the two above) or measured."""
    host_watts: Decimal = Decimal(0)
    """Of the machine without its cards."""
    wear_gpu_hour: Mapping[str, Decimal] = field(default_factory=dict)
    """By card: what an hour takes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PricingConfig:
    """Prices an hour, in whole units of one currency: the order's, where ``worth`` does not tell another."""

    strategy: str = "scale"
    """How a price is made: scale, script or python."""
    cpu_core_hour: Decimal = Decimal("0.01")
    memory_gib_hour: Decimal = Decimal("0.003")
    storage_gib_hour: Decimal = Decimal("0.0001")
    storage_class_gib_hour: Mapping[str, Decimal] = field(default_factory=dict)
    """By class; others cost ``storage_gib_hour``."""
    endpoint_hour: Decimal = Decimal(0)
    ip_hour: Decimal = Decimal(0)
    gpu_hour: Mapping[str, Decimal] = field(default_factory=lambda: {"*": Decimal("1.00")})
    """By card: ``h100`` as ``provider gpus`` names it, ``a100/80Gi``, ``a100/mig-1g.10gb``; ``*``: others."""
    minimum_hour: Decimal = Decimal("0.001")
    script: Path | None = None
    """Price script, for ``strategy: script``."""
    python: str = ""
    """``module:function``, for ``strategy: python``."""
    python_path: tuple[str, ...] = ()
    """Folders in which its module is looked for."""
    ask_timeout_s: float = 10.0
    """For one answer of a script or function."""
    ask_cpu_s: int = 10
    ask_memory_mib: int = 1024
    """Address space; 0: no limit."""
    ask_at_once: int = 8
    worth: Mapping[str, Decimal] = field(default_factory=dict)
    """By currency of orders: what one of it is in the currency of these prices; 1 where not told."""
    floor: FloorConfig = FloorConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleConfig:
    """The operator's own job on cards that nobody rents. It leaves a card before a lease starts there."""

    manifest: Path | None = None
    """File in the language of tenants' manifests; none: nothing runs."""
    service: str = ""
    """Which service of it; empty: the only one."""
    grace_s: int = 10
    """Between asking it to end and ending it: so long a lease may wait for its card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """All of it."""

    state_dir: Path = Path("/var/lib/provider")
    secrets_key_file: Path | None = None
    """The key that tenants' secrets are sealed with at rest; none: secrets.key in the state folder."""
    log_level: str = "info"
    gpu: GpuConfig = GpuConfig()
    health: HealthConfig = HealthConfig()
    usage: UsageConfig = UsageConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    network: NetworkConfig = NetworkConfig()
    images: ImageConfig = ImageConfig()
    storage: StorageConfig = StorageConfig()
    reserve: ReserveConfig = ReserveConfig()
    ingress: IngressConfig = IngressConfig()
    lease: LeaseConfig = LeaseConfig()
    markets: Mapping[str, MarketConfig] = field(default_factory=dict)
    """By the names of those that were joined after the first."""
    logs: LogsConfig = LogsConfig()
    ledger: LedgerConfig = LedgerConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    pricing: PricingConfig = PricingConfig()
    bidding: BiddingConfig = field(default_factory=BiddingConfig)
    idle: IdleConfig = IdleConfig()
