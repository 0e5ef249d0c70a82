"""Checks of a machine before it sells anything: what was found and, where that will not do, the remedy."""

from __future__ import annotations

import shutil
import socket
from collections.abc import AsyncIterator, Iterator

from provider.adapters.clock import SystemClock
from provider.adapters.runtime.advisories import Part
from provider.adapters.runtime.docker import DockerRuntime
from provider.adapters.runtime.egress.warden import FILTER
from provider.app import addresses
from provider.app.config import ProviderConfig, TelemetryConfig
from provider.app.engine_settings import docker_settings
from provider.app.finding import Finding
from provider.app.gpu_findings import examine_gpus
from provider.app.idle_settings import idle_findings
from provider.app.ingress_settings import ingress_findings, listens
from provider.app.market_wiring import check_names
from provider.app.memberships import memberships
from provider.app.policy import policy
from provider.app.usage_settings import usage_interval
from provider.domain.errors import ConfigError, ProviderError
from provider.domain.ids import ProviderId
from provider.domain.moment import rfc3339
from provider.domain.resources import GIB
from provider.domain.workload import Enforcement, GpuAttachment, RuntimeCapabilities
from provider.rpc.identity import check_valid

DISK_LEAST = 20 * GIB
"""Images of AI workloads are 5 to 20 GiB."""


async def examine(config: ProviderConfig) -> AsyncIterator[Finding]:
    """Every check, in the order in which they matter."""
    settings = _policy(config)
    yield settings
    if settings.is_fatal:
        return
    for finding in _identities(config):
        yield finding
    async for finding in _engine(config):
        yield finding
    for finding in await examine_gpus(config):
        yield finding
    yield _disk(config)
    for finding in (*ingress_findings(config), *idle_findings(config.idle)):
        yield finding
    for setting, address in (
        ("lease.listen", config.lease.listen),
        ("telemetry.listen", config.telemetry.listen),
        *listens(config),
    ):
        yield _port(setting, address)
    for finding in readers_findings(config.telemetry):
        yield finding


def readers_findings(telemetry: TelemetryConfig) -> Iterator[Finding]:
    """Who can read the metrics: what is rented here, at what price, and what it earns."""
    try:
        host, _ = addresses.split(telemetry.listen, "telemetry.listen")
    except ConfigError:
        return  # said of the port
    if addresses.is_loopback(host):
        who = "this machine alone"
    elif telemetry.client_ca is not None:
        who = "whoever has a certificate of telemetry.client_ca"
    elif telemetry.token is not None:
        who = "whoever has telemetry.token"
        who += (
            "" if telemetry.certificate else ", which is sent in the clear: telemetry.certificate ends that"
        )
    else:
        yield Finding(
            check="metrics",
            is_well=False,
            found=f"whoever reaches {telemetry.listen} reads what is rented here and what it earns",
            remedy="set telemetry.token and telemetry.certificate, or telemetry.client_ca; or listen on "
            "127.0.0.1",
        )
        return
    yield Finding(check="metrics", is_well=True, found=f"read by {who}")


def _policy(config: ProviderConfig) -> Finding:
    try:
        policy(config, ProviderId("doctor"))
        usage_interval(config)
    except ConfigError as wrong:
        return Finding(
            check="settings", is_well=False, found=wrong.what, remedy=wrong.remedy or "", is_fatal=True
        )
    return Finding(check="settings", is_well=True, found="every setting makes sense")


def _identities(config: ProviderConfig) -> Iterator[Finding]:
    """One for each market."""
    at = SystemClock().now()
    try:
        joined = memberships(config.state_dir, at)
        check_names(config, joined)
    except ConfigError as wrong:
        yield Finding(
            check="identity", is_well=False, found=wrong.what, remedy=wrong.remedy or "", is_fatal=True
        )
        return
    for each in joined.all:
        try:
            check_valid(each.who, at)
        except ConfigError as wrong:
            yield Finding(check="identity", is_well=False, found=wrong.what, remedy=wrong.remedy or "")
        else:
            until = rfc3339(each.who.certificate.not_after)
            yield Finding(
                check="identity", is_well=True, found=f"{each.who.member}, certificate until {until}"
            )


async def _engine(config: ProviderConfig) -> AsyncIterator[Finding]:
    try:
        settings = docker_settings(config, ProviderId("doctor"))
        async with DockerRuntime(settings, SystemClock()) as runtime:
            capabilities = await runtime.capabilities()
            advice = await runtime.advice()
    except ProviderError as failure:
        yield Finding(
            check="engine", is_well=False, found=failure.what, remedy=failure.remedy or "", is_fatal=True
        )
        return
    yield Finding(check="engine", is_well=True, found=capabilities.engine)
    yield filter_finding(capabilities)
    for finding in fitness_findings(capabilities):
        yield finding
    for each in advice:
        yield Finding(check=each.about, is_well=not each.remedy, found=each.found, remedy=each.remedy)
    yield Finding(
        check="gpu attachment",
        is_well=capabilities.gpu_attachment is not GpuAttachment.NONE,
        found=capabilities.gpu_problem or capabilities.gpu_attachment,
        remedy="install the NVIDIA container toolkit, and turn on CDI in the engine",
    )
    for finding in storage_findings(capabilities):
        yield finding


def filter_finding(capabilities: RuntimeCapabilities) -> Finding:
    """Whether leases can be kept from the host's network: nothing is bid on or started unless they can."""
    for each in capabilities.unfit:
        if each.part == FILTER:
            return Finding(
                check=FILTER,
                is_well=False,
                found=f"{each.found}: {each.why}"
                + ("" if each.is_allowed else "; nothing is bid on or started"),
                remedy="network.filter: on"
                if each.is_allowed
                else "as root: apt-get install nftables; in a container: --network host --pid host "
                "--cap-add NET_ADMIN; where nothing can be reached that matters, network.filter: off",
                is_fatal=not each.is_allowed,
            )
    return Finding(
        check=FILTER, is_well=True, found="leases are kept from this host, its network and each other"
    )


def fitness_findings(capabilities: RuntimeCapabilities) -> Iterator[Finding]:
    """What is not fit for strangers: nothing is bid on with it unless it is allowed."""
    unfit = [each for each in capabilities.unfit if each.part != FILTER]
    if not unfit:
        yield Finding(check="fit for strangers", is_well=True, found="nothing is known against its versions")
    for each in unfit:
        newer = f"{each.part} {each.required}, from Docker's or NVIDIA's own packages"
        if each.is_allowed:
            yield Finding(
                check="fit for strangers",
                is_well=False,
                found=f"{each}; runtime.allow_unsafe lets it serve all the same",
                remedy=newer,
            )
        elif each.part in list(Part):
            remedy = f"{newer}; or, for tenants whom you know, runtime.allow_unsafe: [{each.part}]"
            yield Finding(
                check="fit for strangers",
                is_well=False,
                found=f"{each}; nothing is bid on",
                remedy=remedy,
                is_fatal=True,
            )
        else:
            yield Finding(
                check=each.part,
                is_well=False,
                found=f"{each.required} is not there: {each.found}; nothing is bid on",
                remedy=f"install it into the engine, or change the setting: {each.why}",
                is_fatal=True,
            )


HELD_BY = {Enforcement.FILE: "files", Enforcement.PROJECT: "project quota"}
"""What holds volumes to their size, in the doctor's words."""


def storage_findings(capabilities: RuntimeCapabilities) -> Iterator[Finding]:
    """Persistent storage, and how what containers write is kept to its size."""
    classes = ", ".join(f"{each.name} ({HELD_BY[each.enforced_by]})" for each in capabilities.storage_classes)
    rooms = {each.disk: each.capacity_bytes // GIB for each in capabilities.storage_classes}
    yield Finding(
        check="persistent storage",
        is_well=bool(classes),
        found=f"{classes}; {' and '.join(f'{room} GiB' for room in rooms.values())}"
        if classes
        else capabilities.storage_problem or "none is offered",
        remedy="as root on the host: apt-get install e2fsprogs mount util-linux; in a container: "
        "--privileged and -v /var/lib/provider:/var/lib/provider:rshared; or name folders in storage.classes",
    )
    for refused in capabilities.storage_refused:
        yield Finding(
            check="persistent storage",
            is_well=False,
            found=refused,
            remedy="mount it with the option prjquota, or leave storage.enforced_by out",
        )
    held = (
        "the engine holds them to their size"
        if capabilities.limits_storage
        else "measured, and ended if over"
    )
    yield Finding(check="containers' own disk", is_well=True, found=held)


def _disk(config: ProviderConfig) -> Finding:
    place = config.state_dir
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return Finding(
        check="disk",
        is_well=free >= DISK_LEAST,
        found=f"{free / GIB:.0f} GiB free at {place}",
        remedy=f"images need room: free {DISK_LEAST // GIB} GiB or more",
    )


def _port(setting: str, address: str) -> Finding:
    try:
        host, port = addresses.split(address, setting)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except ConfigError as wrong:
        return Finding(
            check=setting, is_well=False, found=wrong.what, remedy=wrong.remedy or "", is_fatal=True
        )
    except OSError as error:
        return Finding(
            check=setting,
            is_well=False,
            found=f"{address}: {error.strerror}",
            remedy=f"stop what listens there (this daemon, perhaps), or change {setting}",
        )
    return Finding(check=setting, is_well=True, found=f"{address} is free")
