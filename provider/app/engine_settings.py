"""From the operator's configuration to the runtime's settings, for the daemon and the doctor alike."""

from __future__ import annotations

from provider.adapters.journal import JournalSettings
from provider.adapters.ledger import LedgerSettings
from provider.adapters.runtime.advisories import Part
from provider.adapters.runtime.egress.settings import Destination, NetworkSettings, resolver
from provider.adapters.runtime.images.settings import ImageSettings
from provider.adapters.runtime.kept_log_settings import KeptLogSettings
from provider.adapters.runtime.settings import PLAIN_RUNTIME, DockerSettings
from provider.adapters.runtime.storage.settings import StorageSettings
from provider.app import addresses
from provider.app.config import NetworkConfig, ProviderConfig
from provider.domain.errors import ConfigError
from provider.domain.ids import ProviderId
from provider.domain.resources import GIB, MIB
from provider.domain.workload import Enforcement

NOT_REACHABLE = "none"
"""As ``lease.advertise``: tenants come through the coordinator."""
LEDGER_FILE = "ledger.db"
"""In the state folder."""
AUTO = "auto"
"""As ``storage.enforced_by``: what each class's disk can do."""
PIDS_LEAST = 64
"""An init, a shell and a program with some threads."""


def docker_settings(config: ProviderConfig, provider: ProviderId) -> DockerSettings:
    """``ConfigError`` where a setting is wrong."""
    return DockerSettings(
        provider=provider,
        socket=config.runtime.docker,
        simulated_gpus=bool(config.gpu.simulate),
        bind_address=config.runtime.publish_address,
        subnet_pool=config.runtime.subnets,
        public_hostname=public_host(config),
        images=_image_settings(config),
        kept_logs=_kept_logs(config),
        copy_bytes_most=config.lease.copy_gib_most * GIB,
        storage=StorageSettings(
            root=(config.state_dir / "volumes").absolute(),
            classes=config.storage.classes,
            enforced_by=_enforcement(config.storage.enforced_by),
            project_ids=_project_ids(config.storage.project_ids),
            measure_s=config.storage.measure_s,
        ),
        network=network_settings(config.network),
        oci_runtime=config.runtime.sandbox or PLAIN_RUNTIME,
        pids_limit=_pids_limit(config.runtime.pids_limit),
        allow_unsafe=frozenset(_part(text) for text in config.runtime.allow_unsafe),
    )


def _image_settings(config: ProviderConfig) -> ImageSettings:
    images = config.images
    return ImageSettings(
        record=config.state_dir / "images.db",
        allow=images.allow,
        deny=images.deny,
        private_registries=images.private_registries,
        mirrors=images.mirrors,
        local=images.local,
        prepull=images.prepull,
        size_most_bytes=images.size_most_gib * GIB,
        disk_keep_bytes=images.disk_keep_gib * GIB,
        collect_above_percent=images.collect_above_percent,
        collect_below_percent=images.collect_below_percent,
        collect_min_age_s=images.collect_min_age_s,
    )


def network_settings(config: NetworkConfig) -> NetworkSettings:
    """``ConfigError`` names the setting that is wrong."""
    return NetworkSettings(
        filters=config.filter,
        allow=tuple(Destination.parse(text, "network.allow") for text in config.allow),
        deny=tuple(Destination.parse(text, "network.deny") for text in config.deny),
        dns=tuple(resolver(text) for text in config.dns),
        smtp=config.smtp,
        download_mbit=config.download_mbit,
        upload_mbit=config.upload_mbit,
        connections_most=config.connections_most,
    )


def _part(text: str) -> Part:
    try:
        return Part(text)
    except ValueError:
        raise ConfigError(
            f"runtime.allow_unsafe: there is no {text!r}", remedy=f"use some of {', '.join(Part)}"
        ) from None


def _enforcement(text: str) -> Enforcement | None:
    if text == AUTO:
        return None
    try:
        return Enforcement(text)
    except ValueError:
        raise ConfigError(
            f"storage.enforced_by: there is no {text!r}", remedy=f"use {AUTO}, {', '.join(Enforcement)}"
        ) from None


def _project_ids(text: str) -> range:
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal()):
        raise ConfigError(
            f"storage.project_ids: {text!r} is not a range of project ids",
            remedy="write it like 2000000000-2000065535",
        )
    return range(int(first), int(last) + 1)


def _pids_limit(count: int) -> int:
    # The engine takes 0 and -1 for "no limit".
    if count < PIDS_LEAST:
        raise ConfigError(f"runtime.pids_limit: {count} is too few", remedy=f"use {PIDS_LEAST} or more")
    return count


def _kept_logs(config: ProviderConfig) -> KeptLogSettings | None:
    if not config.logs.keep_mib:
        return None
    return KeptLogSettings(
        folder=config.state_dir / "logs",
        container_bytes=config.logs.keep_mib * MIB,
        keep_s=config.logs.keep_s,
        disk_bytes=config.logs.disk_mib * MIB,
    )


def journal_settings(config: ProviderConfig) -> JournalSettings:
    """Events are kept as long as logs."""
    return JournalSettings(path=config.state_dir / "journal.db", keep_s=config.logs.keep_s)


def ledger_settings(config: ProviderConfig) -> LedgerSettings:
    """``ConfigError`` where it could keep nothing."""
    for name in ("rows_most", "keep_days"):
        if getattr(config.ledger, name) < 1:
            raise ConfigError(f"ledger.{name}: is less than 1", remedy="leave it out for the usual")
    return LedgerSettings(
        path=config.state_dir / LEDGER_FILE,
        rows_most=config.ledger.rows_most,
        keep_s=config.ledger.keep_days * 86_400,
    )


def advertised(config: ProviderConfig) -> str:
    """host:port of the LeaseService as tenants reach it; empty where they cannot."""
    _, port = addresses.split(config.lease.listen, "lease.listen")
    if config.lease.advertise == NOT_REACHABLE:
        return ""
    return config.lease.advertise or f"{addresses.own_name()}:{port}"


def advertised_in(config: ProviderConfig, market: str) -> str:
    """The same for tenants of ``market``, which is not the first one that was joined."""
    there = config.markets.get(market)
    if there is None or not there.listen:
        return ""
    _, port = addresses.split(there.listen, f"markets.{market}.listen")
    return there.advertise or f"{addresses.own_name()}:{port}"


def public_host(config: ProviderConfig) -> str:
    """Where tenants' published ports are reached."""
    if config.runtime.public_host:
        return config.runtime.public_host
    address = advertised(config)
    return addresses.split(address, "lease.advertise")[0] if address else addresses.own_name()
