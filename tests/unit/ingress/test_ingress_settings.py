"""The operator's section ``ingress``: what it becomes, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from provider.adapters.ingress.settings import Tls
from provider.app.config import IngressConfig, LeaseConfig, ProviderConfig, RuntimeConfig
from provider.app.finding import Finding
from provider.app.ingress_settings import ingress_findings, ingress_policy, ingress_settings, listens
from provider.domain.errors import ConfigError

DOMAIN = "apps.example.com"
Checks = dict[str, Finding]


def config(**settings: object) -> ProviderConfig:
    return ProviderConfig(
        ingress=IngressConfig(**{"domain": DOMAIN, **settings}),  # type: ignore[arg-type]
        runtime=RuntimeConfig(public_host="Node.example.com"),
        lease=LeaseConfig(advertise="lease.example.com:8443"),
    )


def test_without_a_domain_there_is_none() -> None:
    off = config(domain="")
    assert ingress_settings(off) is None
    assert ingress_policy(off) is None
    assert list(listens(off)) == []
    assert checks(off)["ingress"].is_well


def test_plain_http_has_its_own_port_in_addresses() -> None:
    policy = ingress_policy(config())
    assert policy is not None
    assert policy.uri("a.example.com") == "http://a.example.com"
    assert [setting for setting, _ in listens(config())] == ["ingress.http"]
    odd = ingress_policy(config(http="0.0.0.0:8080"))
    assert odd is not None
    assert odd.uri("a.example.com") == "http://a.example.com:8080"


def test_with_certificates_addresses_are_https() -> None:
    for secure in (config(tls="acme"), config(certificate=Path("c"), key=Path("k"))):
        policy = ingress_policy(secure)
        assert policy is not None
        assert policy.uri("a.example.com") == "https://a.example.com"
        assert [setting for setting, _ in listens(secure)] == ["ingress.http", "ingress.https"]
    settings = ingress_settings(config(tls="acme"))
    assert settings is not None
    assert settings.tls is Tls.ACME


def test_the_operators_own_names_are_blocked_too() -> None:
    policy = ingress_policy(config(blocked=(".bank.example",)))
    assert policy is not None
    assert policy.blocked == (".bank.example", "lease.example.com", "node.example.com")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"domain": "Apps.example.com"}, "ingress.domain: 'Apps.example.com' is not a domain"),
        ({"domain": "localhost"}, "ingress.domain: 'localhost' is not a domain"),
        ({"domain": "*.example.com"}, "is not a domain"),
        ({"tls": "letsencrypt"}, "ingress.tls: 'letsencrypt' is not a way to certificates"),
        ({"http": "80"}, "ingress.http: '80' is not an address"),
        ({"https": "x"}, "ingress.https: 'x' is not an address"),
        ({"certificate": Path("c")}, "belong together"),
        ({"key": Path("k")}, "belong together"),
        ({"blocked": ("a b",)}, "ingress.blocked: 'a b' is not a name"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint.replace("*", r"\*")):
        ingress_policy(config(**settings))


def checks(of: ProviderConfig, resolve: Callable[[str], list[str]] = lambda _: ["127.0.0.1"]) -> Checks:
    return {each.check: each for each in ingress_findings(of, resolve)}


def test_the_doctor_looks_for_the_proxy(tmp_path: Path) -> None:
    program = tmp_path / "caddy"
    lacking = checks(config(caddy=str(program)))["ingress.caddy"]
    assert lacking.is_fatal
    assert "apt-get install caddy" in lacking.remedy
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    assert checks(config(caddy=str(program)))["ingress.caddy"].is_fatal
    program.write_text("#!/bin/sh\necho v2.8.4 h1:abc=\n")
    found = checks(config(caddy=str(program), tls="internal"))
    assert found["ingress.caddy"].is_well
    assert found["ingress.caddy"].found.endswith("version 2.8.4")
    assert "ingress.tls" not in found


def test_the_doctor_asks_where_names_lead() -> None:
    def nowhere(name: str) -> list[str]:
        raise OSError(-2, f"{name} is not known")

    assert checks(config())["ingress.domain"].is_well
    elsewhere = checks(config(), lambda _: ["192.0.2.1"])["ingress.domain"]
    assert not elsewhere.is_well
    assert elsewhere.found == f"any.{DOMAIN} is 192.0.2.1, no address of this machine's own"
    unknown = checks(config(), nowhere)["ingress.domain"]
    assert (unknown.is_well, unknown.is_fatal) == (False, False)
    assert f"*.{DOMAIN}" in unknown.remedy
