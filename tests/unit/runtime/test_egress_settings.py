"""The operator's settings of leases' network, from the file to what the doctor says of them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from provider.adapters.runtime.egress.settings import Destination, NetworkSettings
from provider.adapters.runtime.egress.warden import FILTER
from provider.app.config import NetworkConfig
from provider.app.config_reading import parse
from provider.app.doctor import filter_finding, fitness_findings
from provider.app.engine_settings import network_settings
from provider.domain.errors import ConfigError
from provider.domain.workload import GpuAttachment, RuntimeCapabilities, Unfit


def read(network: object, **environment: str) -> NetworkSettings:
    return network_settings(parse({"network": network}, environment, "a file").network)


def test_without_a_word_leases_are_fenced_in() -> None:
    assert network_settings(NetworkConfig()) == NetworkSettings()
    assert NetworkSettings().filters
    assert not NetworkSettings().smtp


def test_every_setting_arrives() -> None:
    told = {
        "filter": True,
        "allow": ["10.1.2.3:443"],
        "deny": ["8.8.8.8"],
        "dns": ["9.9.9.9"],
        "smtp": True,
        "download_mbit": 100,
        "upload_mbit": 50,
        "connections_most": 10,
    }
    assert read(told) == NetworkSettings(
        filters=True,
        allow=(Destination.parse("10.1.2.3:443", ""),),
        deny=(Destination.parse("8.8.8.8", ""),),
        dns=(IPv4Address("9.9.9.9"),),
        smtp=True,
        download_mbit=100,
        upload_mbit=50,
        connections_most=10,
    )


@pytest.mark.parametrize(("text", "filters"), [("off", False), ("on", True), ("false", False)])
def test_a_switch_is_thrown_in_the_environment_too(text: str, filters: bool) -> None:
    assert read({}, PROVIDER_NETWORK__FILTER=text).filters is filters


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        ({"filter": "maybe"}, r"network\.filter: expected on or off"),
        ({"filter": 1}, r"network\.filter: expected on or off"),
        ({"filtre": False}, r"network\.filtre: no such setting: did you mean filter"),
        ({"allow": ["fd00::/8"]}, r"network\.allow: 'fd00::/8' is IPv6"),
        ({"deny": ["example.org"]}, r"network\.deny: 'example.org' is no destination"),
        ({"dns": ["dns.example.org"]}, r"network\.dns: 'dns.example.org' is no IPv4 address"),
        ({"dns": ["127.0.0.53"]}, r"network\.dns: 127.0.0.53 is not reached from a container"),
        ({"download_mbit": 10_000_000}, r"Mbit/s is no rate"),
        ({"filter": False, "upload_mbit": 5}, r"network\.upload_mbit is held by the filter"),
    ],
)
def test_what_cannot_be_is_refused_by_name(network: object, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        read(network)
    assert refused.value.remedy


def capable(*unfit: Unfit) -> RuntimeCapabilities:
    return RuntimeCapabilities(engine="docker 28", gpu_attachment=GpuAttachment.CDI, unfit=unfit)


@pytest.mark.parametrize(
    ("unfit", "is_well", "is_fatal", "remedy"),
    [
        ((), True, False, ""),
        (
            (Unfit(part=FILTER, found="off", required="on", why="w", is_allowed=True),),
            False,
            False,
            "network.filter: on",
        ),
        (
            (Unfit(part=FILTER, found="no nft", required="on", why="w"),),
            False,
            True,
            "apt-get install nftables",
        ),
    ],
)
def test_the_doctor_says_whether_leases_can_be_fenced_in(
    unfit: tuple[Unfit, ...], is_well: bool, is_fatal: bool, remedy: str
) -> None:
    finding = filter_finding(capable(*unfit))

    assert (finding.is_well, finding.is_fatal) == (is_well, is_fatal)
    assert remedy in finding.remedy
    assert [each.is_well for each in fitness_findings(capable(*unfit))] == [True]  # said once
