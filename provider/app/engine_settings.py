"""From the operator's configuration to the runtime's settings, for the daemon and the doctor alike."""

from __future__ import annotations

from provider.adapters.runtime.settings import DockerSettings
from provider.app import addresses
from provider.app.config import ProviderConfig
from provider.domain.ids import ProviderId


def docker_settings(config: ProviderConfig, provider: ProviderId) -> DockerSettings:
    """``ConfigError`` where a setting is wrong."""
    return DockerSettings(
        provider=provider,
        socket=config.runtime.docker,
        simulated_gpus=bool(config.gpu.simulate),
        bind_address=config.runtime.publish_address,
        subnet_pool=config.runtime.subnets,
        public_hostname=public_host(config),
        mirror=config.runtime.mirror,
    )


def advertised(config: ProviderConfig) -> str:
    """host:port of the LeaseService as tenants reach it."""
    _, port = addresses.split(config.lease.listen, "lease.listen")
    return config.lease.advertise or f"{addresses.own_name()}:{port}"


def public_host(config: ProviderConfig) -> str:
    """Where tenants' published ports are reached."""
    return config.runtime.public_host or addresses.split(advertised(config), "lease.advertise")[0]
