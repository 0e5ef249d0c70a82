"""From the operator's configuration to the ingress: what the core must know of it, and its adapter."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from shutil import which

from provider.adapters.ingress.settings import IngressSettings, Tls
from provider.app import addresses
from provider.app.config import IngressConfig, ProviderConfig
from provider.app.engine_settings import advertised, public_host
from provider.app.finding import Finding
from provider.core.policy import IngressPolicy
from provider.domain.errors import ConfigError
from provider.sdl.check_services import is_host

USUAL_PORTS = {"http": 80, "https": 443}
ASK_S = 10
"""Until the proxy must have said its version."""


def ingress_settings(config: ProviderConfig) -> IngressSettings | None:
    """None without a domain. ``ConfigError`` where settings contradict themselves."""
    ingress = config.ingress
    if not ingress.domain:
        return None
    if not is_host(ingress.domain) or "." not in ingress.domain:
        raise ConfigError(
            f"ingress.domain: {ingress.domain!r} is not a domain", remedy="write it like apps.example.com"
        )
    if (ingress.certificate is None) != (ingress.key is None):
        raise ConfigError(
            "ingress.certificate and ingress.key belong together", remedy="set both, or none of them"
        )
    return IngressSettings(
        http=addresses.split(ingress.http, "ingress.http"),
        https=addresses.split(ingress.https, "ingress.https"),
        tls=_tls(ingress),
        acme_email=ingress.acme_email,
        certificate=ingress.certificate,
        key=ingress.key,
        program=ingress.caddy,
        user=ingress.user,
        folder=config.state_dir / "ingress",
    )


def ingress_policy(config: ProviderConfig) -> IngressPolicy | None:
    """None without a domain."""
    settings = ingress_settings(config)
    if settings is None:
        return None
    for name in config.ingress.blocked:
        if not is_host(name.removeprefix(".")):
            raise ConfigError(
                f"ingress.blocked: {name!r} is not a name", remedy="write it like example.com or .example.com"
            )
    scheme = "https" if settings.serves_tls else "http"
    port = (settings.https if settings.serves_tls else settings.http)[1]
    own = {public_host(config), addresses.split(advertised(config), "lease.advertise")[0]}
    return IngressPolicy(
        domain=config.ingress.domain,
        blocked=(*config.ingress.blocked, *sorted(name.lower() for name in own)),
        scheme=scheme,
        port=None if port == USUAL_PORTS[scheme] else port,
    )


def _tls(ingress: IngressConfig) -> Tls:
    try:
        return Tls(ingress.tls)
    except ValueError:
        raise ConfigError(
            f"ingress.tls: {ingress.tls!r} is not a way to certificates", remedy=f"use {', '.join(Tls)}"
        ) from None


def listens(config: ProviderConfig) -> Iterator[tuple[str, str]]:
    """Setting and address of each port that the ingress needs."""
    settings = ingress_settings(config)
    if settings is not None:
        yield "ingress.http", config.ingress.http
        if settings.serves_tls:
            yield "ingress.https", config.ingress.https


def addresses_of(name: str) -> list[str]:
    """As the machine's resolver has them. ``OSError`` when it has none."""
    return sorted({str(each[4][0]) for each in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})


def ingress_findings(
    config: ProviderConfig, resolve: Callable[[str], list[str]] = addresses_of
) -> Iterator[Finding]:
    """Whether the proxy is here, and whether names lead here: asks the resolver, and nobody else."""
    if not config.ingress.domain:
        yield Finding(check="ingress", is_well=True, found="off: HTTP ports are published like any other")
        return
    yield _program(config.ingress.caddy)
    yield _resolves(f"any.{config.ingress.domain}", resolve)
    if not _serves_tls(config):
        yield Finding(
            check="ingress.tls",
            is_well=False,
            found="names are served without TLS",
            remedy="ingress.tls: acme for public names, or a certificate of your own",
        )


def _serves_tls(config: ProviderConfig) -> bool:
    settings = ingress_settings(config)
    return settings is not None and settings.serves_tls


def _program(program: str) -> Finding:
    place = which(program)
    remedy = "apt-get install caddy, then systemctl disable --now caddy: the daemon runs its own"
    if place is None:
        found = f"{program} is not here"
        return Finding(check="ingress.caddy", is_well=False, found=found, remedy=remedy, is_fatal=True)
    try:
        asked = subprocess.run([place, "version"], capture_output=True, text=True, timeout=ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(
            check="ingress.caddy", is_well=False, found=f"{place}: {error}", remedy=remedy, is_fatal=True
        )
    version = (asked.stdout.split() or ["?"])[0].removeprefix("v")
    is_well = asked.returncode == 0 and version[:1].isdigit()
    return Finding(
        check="ingress.caddy",
        is_well=is_well,
        found=f"{place}, version {version}",
        remedy=remedy,
        is_fatal=not is_well,
    )


def _resolves(name: str, resolve: Callable[[str], list[str]]) -> Finding:
    remedy = (
        f"a wildcard record, *.{name.partition('.')[2]}, that leads to this machine or what forwards to it"
    )
    try:
        found = resolve(name)
    except OSError as error:
        text = f"{name} does not resolve: {error.strerror}"
        return Finding(check="ingress.domain", is_well=False, found=text, remedy=remedy)
    own = _own_addresses(found)
    text = f"{name} is {', '.join(found)}" + ("" if own else ", no address of this machine's own")
    return Finding(check="ingress.domain", is_well=own, found=text, remedy=remedy)


def _own_addresses(found: list[str]) -> bool:
    """Whether this machine has one of them: it can bind it. Behind a NAT it has not, and that is fine too."""
    for address in found:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                continue
            return True
    return False
