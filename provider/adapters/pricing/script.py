"""``ports.Pricer`` by a price script as Akash has them: JSON on standard input, one number back.

Existing scripts run unchanged. Owns the environment and the strict reading of the answer: a decimal in the
order's currency per block, more than nothing, as Akash's ``LegacyNewDecFromStr`` takes it. Settings of ours
are not passed on, because one of them may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from provider.adapters.pricing.cards import cards_given
from provider.adapters.pricing.running import Program, Runner
from provider.domain.errors import Permanent
from provider.domain.money import RATE_DIGITS, Rate
from provider.domain.price import PriceQuestion
from provider.sdl.price_request import price_request

OWN_VARIABLES = "PROVIDER_"
"""What the names of our settings in the environment begin with."""
_NUMBER = re.compile(rf"(\d{{1,40}})(\.\d{{1,{RATE_DIGITS}}})?", re.ASCII)


class ScriptPricer:
    """``environment`` is the daemon's own."""

    def __init__(self, path: Path, runner: Runner, environment: Mapping[str, str]) -> None:
        self._path = path
        self._runner = runner
        self._environment = {
            name: value for name, value in environment.items() if not name.startswith(OWN_VARIABLES)
        }

    async def price(self, question: PriceQuestion) -> Rate:
        """``Permanent`` or ``Temporary`` with the reason where there is none."""
        group = question.order.group
        denom = group.max_rate.denom
        environment = {
            **self._environment,
            "AKASH_OWNER": question.order.id.owner,
            "AKASH_DENOM": str(denom),
        }
        program = Program(name=str(self._path), command=[str(self._path)], environment=environment)
        said = await self._runner.ask(program, price_request(group, cards_given(question)))
        return Rate(amount=_number(said, self._path), denom=denom)


def _number(said: str, path: Path) -> Decimal:
    text = said.strip()
    if not _NUMBER.fullmatch(text):
        shown = repr(text[:60]) if text else "nothing"
        raise Permanent(
            f"{path} said {shown}: a price is a number with at most {RATE_DIGITS} digits after the point"
        )
    amount = Decimal(text)
    if not amount:
        raise Permanent(f"{path} said 0: a price is more than that")
    return amount
