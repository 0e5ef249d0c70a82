"""From the ``pricing:`` settings to the prices that decisions are made by; all their problems said at once.

Prices become micro-units, tariffs a price for each hour of the week; names are checked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from decimal import Decimal
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from provider.app import tariff
from provider.app.config import FloorConfig, PricingConfig
from provider.core import gpu_keys
from provider.core.floor import dearest_means
from provider.core.policy import PriceFloor, PriceScale, PriceStrategy, Watts
from provider.domain.errors import ConfigError
from provider.domain.money import Denom

MICROS = 1_000_000
"""Micro-denom in a whole unit of a currency."""
_ENTRY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
Word = TypeVar("Word", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What ``pricing:`` comes to."""

    scale: PriceScale
    strategy: PriceStrategy
    floor: PriceFloor | None
    worth: Mapping[Denom, Decimal]


def prices(pricing: PricingConfig) -> Prices:
    """``ConfigError`` names every problem."""
    reading = _Reading()
    read = Prices(
        scale=_scale(pricing, reading),
        strategy=reading.word(PriceStrategy, pricing.strategy, "pricing.strategy") or PriceStrategy.SCALE,
        floor=_floor(pricing.floor, reading),
        worth=reading.worth(pricing.worth),
    )
    reading.asked(pricing)
    reading.raise_problems()
    return read


@dataclass(slots=True)
class _Reading:
    problems: list[str] = field(default_factory=list)

    def word(self, kind: type[Word], text: str, place: str) -> Word | None:
        if text in list(kind):
            return kind(text)
        near = get_close_matches(text, list(kind), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(kind)}"
        self.problems.append(f"{place}: no such value as {text!r}: {hint}")
        return None

    def worth(self, rates: Mapping[str, Decimal]) -> dict[Denom, Decimal]:
        read = {}
        for text, value in rates.items():
            denom = self.word(Denom, text, f"pricing.worth.{text}")
            if value <= 0:
                self.problems.append(f"pricing.worth.{text}: a currency is worth more than nothing")
            if denom is not None:
                read[denom] = value
        return read

    def cards(self, values: Mapping[str, Decimal], place: str, unit: int = MICROS) -> dict[str, Decimal]:
        """By card."""
        for key in values:
            try:
                gpu_keys.parse(key)
            except ValueError as error:
                self.problems.append(f"{place}: {error}")
        return {key: value * unit for key, value in values.items()}

    def asked(self, pricing: PricingConfig) -> None:
        """Whether there is somebody to ask."""
        if pricing.strategy == PriceStrategy.SCRIPT:
            script = pricing.script
            if script is None:
                self.problems.append("pricing.script: strategy script needs the path of one")
            elif not script.is_absolute() or not script.is_file() or not os.access(script, os.X_OK):
                self.problems.append(
                    f"pricing.script: {script} is not the full path of an executable file: chmod +x?"
                )
        if pricing.strategy == PriceStrategy.PYTHON and not _ENTRY.fullmatch(pricing.python):
            self.problems.append(
                f"pricing.python: {pricing.python!r} names no function: write it module:function"
            )
        for name in ("ask_timeout_s", "ask_cpu_s", "ask_at_once"):
            if not getattr(pricing, name):
                self.problems.append(f"pricing.{name}: without any, no price is ever made")

    def raise_problems(self) -> None:
        if self.problems:
            listed = "".join(f"\n  {problem}" for problem in self.problems)
            raise ConfigError(
                f"these prices cannot be:{listed}", remedy="docs/pricing.md shows how they are written"
            )


def _scale(pricing: PricingConfig, reading: _Reading) -> PriceScale:
    return PriceScale(
        cpu_core_hour=pricing.cpu_core_hour * MICROS,
        memory_gib_hour=pricing.memory_gib_hour * MICROS,
        storage_gib_hour=pricing.storage_gib_hour * MICROS,
        storage_class_gib_hour={
            name: price * MICROS for name, price in pricing.storage_class_gib_hour.items()
        },
        endpoint_hour=pricing.endpoint_hour * MICROS,
        ip_hour=pricing.ip_hour * MICROS,
        gpu_hour=reading.cards(pricing.gpu_hour, "pricing.gpu_hour"),
        minimum_hour=pricing.minimum_hour * MICROS,
    )


def _floor(floor: FloorConfig, reading: _Reading) -> PriceFloor | None:
    """None where nothing is said of electricity or wear."""
    try:
        week = tariff.week(
            floor.kwh * MICROS, {span: each * MICROS for span, each in floor.kwh_by_hour.items()}
        )
    except ValueError as error:
        reading.problems.append(f"pricing.floor.kwh_by_hour: {error}")
        return None
    read = PriceFloor(
        kwh_dearest=dearest_means(week),
        zone=_zone(floor.timezone, reading),
        gpu_watts=reading.cards(floor.gpu_watts, "pricing.floor.gpu_watts", 1),
        watts=reading.word(Watts, floor.watts, "pricing.floor.watts") or Watts.NAMEPLATE,
        host_watts=floor.host_watts,
        wear_gpu_hour=reading.cards(floor.wear_gpu_hour, "pricing.floor.wear_gpu_hour"),
    )
    return read if any(week) or any(read.wear_gpu_hour.values()) else None


def _zone(name: str, reading: _Reading) -> tzinfo:
    try:
        return ZoneInfo(name) if name != "UTC" else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        reading.problems.append(
            f"pricing.floor.timezone: {name!r} is no time zone here: write it like Europe/Berlin"
        )
        return UTC
