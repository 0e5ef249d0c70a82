"""How often use is looked at, and what the doctor makes of who can read the metrics."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from provider.app import addresses
from provider.app.config import ProviderConfig, TelemetryConfig, UsageConfig
from provider.app.doctor import readers_findings
from provider.app.usage_settings import usage_interval
from provider.domain.errors import ConfigError
from provider.domain.secret import Secret

TOKEN, FILE = Secret("t"), Path("/etc/x.pem")
OUTSIDE = "0.0.0.0:9464"


@pytest.mark.parametrize(("seconds", "span"), [(0.5, 500), (2.0, 2_000), (5.0, 5_000)])
def test_a_period_that_can_be_kept(seconds: float, span: int) -> None:
    assert usage_interval(ProviderConfig(usage=UsageConfig(interval_s=seconds))) == span


@pytest.mark.parametrize("seconds", [0.0, 0.4, 5.1, -1.0, math.inf, math.nan])
def test_a_period_that_cannot(seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"usage\.interval_s") as refused:
        usage_interval(ProviderConfig(usage=UsageConfig(interval_s=seconds)))
    assert refused.value.remedy == "give a number of seconds from 0.5 to 5.0"


@pytest.mark.parametrize(
    ("telemetry", "who"),
    [
        (TelemetryConfig(), "this machine alone"),
        (TelemetryConfig(listen="[::1]:9464"), "this machine alone"),
        (TelemetryConfig(listen=OUTSIDE, token=TOKEN, certificate=FILE, key=FILE), "telemetry.token"),
        (TelemetryConfig(listen=OUTSIDE, token=TOKEN), "in the clear: telemetry.certificate ends that"),
        (
            TelemetryConfig(listen=OUTSIDE, certificate=FILE, key=FILE, client_ca=FILE),
            "whoever has a certificate of telemetry.client_ca",
        ),
    ],
)
def test_metrics_that_some_can_read(telemetry: TelemetryConfig, who: str) -> None:
    (finding,) = readers_findings(telemetry)
    assert finding.is_well
    assert finding.found.endswith(who)


@pytest.mark.parametrize("listen", [OUTSIDE, "[::]:9464", "192.0.2.7:9464"])
@pytest.mark.parametrize("certificate", [None, FILE])
def test_metrics_that_anybody_can_read(listen: str, certificate: Path | None) -> None:
    """TLS alone keeps them from who listens in between, and from nobody who asks."""
    (finding,) = readers_findings(TelemetryConfig(listen=listen, certificate=certificate, key=certificate))
    assert (finding.is_well, finding.is_fatal) == (False, False)
    assert listen in finding.found
    assert "telemetry.token" in finding.remedy


def test_an_address_that_is_none_is_said_of_the_port() -> None:
    assert list(readers_findings(TelemetryConfig(listen="9464"))) == []


def test_a_name_counts_by_where_it_leads() -> None:
    assert addresses.is_loopback("localhost")
    assert not addresses.is_loopback("0.0.0.0")
