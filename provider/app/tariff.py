"""An electricity tariff as an operator writes it, as a price for each hour of the week.

``{"22-6": 0.18, "mon-fri 7-20": 0.34, "sat-sun": 0.21}``: days, hours or both; hours end before the second
number and may go over midnight; what is written later goes over what is written before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal

from provider.core.floor import WEEK_HOURS

GRAMMAR = "22-6, mon-fri, or mon-fri 7-20"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(
    r"(?:(?P<day>[a-z]{3})(?:-(?P<last_day>[a-z]{3}))?)?\s*(?:(?P<hour>\d{1,2})-(?P<end>\d{1,2}))?"
)


def week(everywhen: Decimal, spans: Mapping[str, Decimal]) -> tuple[Decimal, ...]:
    """A price for each hour from Monday's first; ``ValueError`` names the span that cannot be read."""
    prices = [everywhen] * WEEK_HOURS
    for text, price in spans.items():
        for hour in _hours(text):
            prices[hour % WEEK_HOURS] = price
    return tuple(prices)


def _hours(text: str) -> Iterator[int]:
    """Those that begin in the span; over midnight they are the next day's."""
    told = _SPAN.fullmatch(text.strip().lower())
    if told is None or not text.strip():
        raise ValueError(f"{text!r} is no span of time: write it like {GRAMMAR}")
    first_day, days = _range(told["day"] or "mon", told["last_day"] or (told["day"] or "sun"), text)
    begin, end = int(told["hour"] or 0), int(told["end"] or 24)
    if begin > 23 or end > 24 or begin == end:
        raise ValueError(f"{text!r}: hours go from 0 to 24")
    hours = end - begin if end > begin else end + 24 - begin
    for day in range(first_day, first_day + days):
        yield from range(day * 24 + begin, day * 24 + begin + hours)


def _range(first: str, last: str, text: str) -> tuple[int, int]:
    if first not in _DAYS or last not in _DAYS:
        raise ValueError(f"{text!r}: days are {', '.join(_DAYS)}")
    begin, end = _DAYS.index(first), _DAYS.index(last)
    return begin, (end - begin) % 7 + 1
