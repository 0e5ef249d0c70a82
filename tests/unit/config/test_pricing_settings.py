"""``pricing:`` from a file to what decisions are made by, and all that can be wrong with it at once."""

from __future__ import annotations

from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from provider.app.config import PricingConfig
from provider.app.config_reading import parse
from provider.app.policy import policy
from provider.app.pricing_policy import prices
from provider.app.tariff import week
from provider.core.floor import WEEK_HOURS
from provider.core.policy import Policy
from provider.domain.errors import ConfigError
from provider.domain.ids import ProviderId
from provider.domain.money import Denom

DAY, NIGHT, SUNDAY = Decimal("0.34"), Decimal("0.18"), Decimal("0.2")


def policy_of(document: object, **environment: str) -> Policy:
    return policy(parse(document, environment, "provider.yaml"), ProviderId("north"))


def test_flat_keys_are_the_price_list() -> None:
    found = policy_of({"pricing": {"cpu_core_hour": 0.02, "gpu_hour": {"h100": "2.40", "*": 1}}})
    assert found.price.cpu_core_hour == 20_000
    assert found.price.gpu_hour == {"h100": Decimal(2_400_000), "*": Decimal(1_000_000)}
    assert found.floor is None
    assert found.worth == {}


def test_all_of_it() -> None:
    block = {
        "strategy": "scale",
        "storage_class_gib_hour": {"beta3": 0.0003},
        "ip_hour": 0.007,
        "worth": {"uakt": 0.42},
        "floor": {
            "kwh": 0.30,
            "kwh_by_hour": {"22-6": 0.18},
            "timezone": "Europe/Berlin",
            "gpu_watts": {"h100": 650},
            "host_watts": 180,
            "wear_gpu_hour": {"*": 0.05},
        },
    }
    found = policy_of({"pricing": block})
    assert found.price.storage_class_gib_hour == {"beta3": Decimal(300)}
    assert found.worth_of(Denom.UAKT) == Decimal("0.42")
    assert found.worth_of(Denom.UACT) == 1
    assert found.floor is not None
    assert found.floor.zone == ZoneInfo("Europe/Berlin")
    assert found.floor.gpu_watts == {"h100": Decimal(650)}
    assert found.floor.wear_gpu_hour == {"*": Decimal(50_000)}
    assert found.floor.kwh_dearest[12] == 300_000


def test_the_environment_reaches_every_depth() -> None:
    found = policy_of({"pricing": {"floor": {"host_watts": 5}}}, PROVIDER_PRICING__FLOOR__KWH="0.25")
    assert found.floor is not None
    assert found.floor.kwh_dearest[0] == 250_000
    assert found.floor.host_watts == 5


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as problem:
        policy_of(
            {
                "pricing": {
                    "strategy": "scala",
                    "gpu_hour": {"H100": 1},
                    "worth": {"uatk": 1, "uakt": 0},
                    "floor": {
                        "kwh": 1,
                        "timezone": "Berlin/Mitte",
                        "gpu_watts": {"a100/huge": 1},
                    },
                }
            }
        )
    for part in (
        "pricing.strategy: no such value as 'scala': did you mean scale?",
        "pricing.gpu_hour: 'H100' names no card",
        "pricing.worth.uatk: no such value as 'uatk': did you mean uakt?",
        "pricing.worth.uakt: a currency is worth more than nothing",
        "pricing.floor.timezone: 'Berlin/Mitte' is no time zone here",
        "pricing.floor.gpu_watts: 'a100/huge': 'huge' is no memory",
    ):
        assert part in str(problem.value)
    with pytest.raises(ConfigError, match=r"kwh_by_hour: '7-25': hours go from 0 to 24"):
        policy_of({"pricing": {"floor": {"kwh_by_hour": {"7-25": 1}}}})


def test_a_setting_that_is_none_has_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"pricing\.floor\.kw: no such setting: did you mean kwh\?"):
        policy_of({"pricing": {"floor": {"kw": 1}}})


def hours(spans: dict[str, Decimal], price: Decimal) -> list[int]:
    return [hour for hour, each in enumerate(week(DAY, spans)) if each == price]


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ("7-9", [day * 24 + hour for day in range(7) for hour in (7, 8)]),
        ("mon 7-9", [7, 8]),
        ("sun", list(range(6 * 24, WEEK_HOURS))),
        ("sat-sun 23-24", [5 * 24 + 23, 6 * 24 + 23]),
        ("sun 23-1", [0, WEEK_HOURS - 1]),
        ("Fri-Mon 0-1", [0, 96, 120, 144]),
    ],
)
def test_spans(span: str, expected: list[int]) -> None:
    assert hours({span: NIGHT}, NIGHT) == expected


def test_what_is_written_later_goes_over_what_is_before() -> None:
    spans = {"22-6": NIGHT, "sun": SUNDAY}
    assert len(hours(spans, SUNDAY)) == 24
    assert 6 * 24 + 3 not in hours(spans, NIGHT)


@pytest.mark.parametrize("span", ["", " ", "7", "7-", "noon", "mon-", "mun", "7-7", "24-3", "mon 7-9 tue"])
def test_spans_that_are_none(span: str) -> None:
    with pytest.raises(ValueError, match=r"is no span of time|days are|hours go"):
        week(DAY, {span: NIGHT})


def test_the_defaults_are_fit_to_be_sold_by() -> None:
    assert prices(PricingConfig()).scale.gpu_hour == {"*": Decimal(1_000_000)}
