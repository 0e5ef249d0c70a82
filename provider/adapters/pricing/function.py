"""``ports.Pricer`` by a function of the operator's, which runs in a process of its own (``entry_point``)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from provider.adapters.pricing.cards import cards_given
from provider.adapters.pricing.running import Program, Runner
from provider.adapters.pricing.script import OWN_VARIABLES
from provider.core import pricing
from provider.domain.errors import ConfigError, Permanent, ProviderError
from provider.domain.gpu import Gpu
from provider.domain.money import Rate
from provider.domain.price import PriceQuestion
from provider.sdl.price_request import resource_trees

MICROS = 1_000_000


class FunctionPricer:
    """``entry`` is ``module:function``; ``path`` are folders where modules are looked for, besides Python's
    own."""

    def __init__(
        self, entry: str, path: tuple[str, ...], runner: Runner, environment: Mapping[str, str]
    ) -> None:
        self._entry = entry
        self._runner = runner
        kept = {name: value for name, value in environment.items() if not name.startswith(OWN_VARIABLES)}
        folders = [*path, *filter(None, [kept.get("PYTHONPATH")])]
        self._environment = {**kept, "PYTHONPATH": ":".join(folders), "PYTHONDONTWRITEBYTECODE": "1"}

    def _program(self, *arguments: str) -> Program:
        command = [sys.executable, "-m", "provider.adapters.pricing.entry_point", *arguments]
        return Program(
            name=self._entry, command=command, environment=self._environment, refuses_by_status=False
        )

    async def check(self) -> None:
        """``ConfigError`` where the function is not there."""
        try:
            await self._runner.ask(self._program("--check", self._entry), b"")
        except ProviderError as failure:
            raise ConfigError(
                f"pricing.python: {failure.what}",
                remedy="name it module:function, its folder in pricing.python_path",
            ) from failure

    async def price(self, question: PriceQuestion) -> Rate:
        """``Permanent`` or ``Temporary`` with the reason where there is none."""
        said = await self._runner.ask(self._program(self._entry), _question(question))
        hour = _hour(said, self._entry)
        denom = question.order.group.max_rate.denom
        return pricing.rate(pricing.times(hour, Fraction(MICROS)), question.worth, denom)


def _question(question: PriceQuestion) -> bytes:
    order = question.order
    tree = {
        "order": str(order.id),
        "owner": order.id.owner,
        "denom": str(order.group.max_rate.denom),
        "resources": resource_trees(order.group, cards_given(question)),
        "gpus": [_card(gpu) for gpu in question.gpus],
        "floor_hour": str(pricing.times(question.least_hour, Fraction(1, MICROS))),
        "maximum_hour": str(pricing.times(question.most_hour, Fraction(1, MICROS))),
    }
    return json.dumps(tree).encode()


def _card(gpu: Gpu) -> dict[str, object]:
    return {
        "uuid": gpu.uuid,
        "model": gpu.model,
        "memory_bytes": gpu.memory_bytes,
        "interface": gpu.interface,
        "mig": gpu.mig.profile if gpu.mig else None,
        "watts": gpu.power_limit_watts,
    }


def _hour(said: str, entry: str) -> Decimal:
    try:
        answer = json.loads(said)
        if "refused" in answer:
            raise Permanent(f"{entry}: {' '.join(str(answer['refused']).split())[:300]}")
        hour = Decimal(answer["hour"])
    except (ValueError, KeyError, TypeError, InvalidOperation) as error:
        raise Permanent(f"{entry} gave no answer that can be read") from error
    if not hour.is_finite() or not 0 < hour < 10**12:
        raise Permanent(f"{entry} returned {hour}: a price is more than nothing, and no more than there is")
    return hour
