"""The operator's own conditions on orders, such as ``gpus >= 1``: what they speak of, whether they hold.

A small language of comparisons, read once from the configuration: there is nothing in it to be run. All
conditions must hold. Invariant: a condition that reads is about something every order has.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase

from provider.core.needs import need
from provider.domain.market import GroupSpec, Order
from provider.domain.money import BLOCKS_PER_HOUR
from provider.domain.resources import GIB

_MICROS = 1_000_000
_NUMBERS: Mapping[str, Callable[[GroupSpec], Decimal]] = {
    "gpus": lambda group: Decimal(group.gpu_count),
    "gpus_per_replica": lambda group: Decimal(max(unit.resources.gpu.units for unit in group.units)),
    "replicas": lambda group: Decimal(sum(unit.count for unit in group.units)),
    "cpu_cores": lambda group: Decimal(need(group).cpu_millis) / 1000,
    "memory_gib": lambda group: Decimal(need(group).memory_bytes) / GIB,
    "storage_gib": lambda group: Decimal(need(group).storage_bytes) / GIB,
    "endpoints": lambda group: Decimal(need(group).ports),
    "price_hour": lambda group: group.max_rate.amount * BLOCKS_PER_HOUR / _MICROS,
    "price_per_gpu_hour": lambda group: (
        group.max_rate.amount * BLOCKS_PER_HOUR / _MICROS / max(group.gpu_count, 1)
    ),
}
"""What a condition can compare with a number; prices an hour in whole units of the order's currency."""
_ORDERINGS: Mapping[str, Callable[[Decimal, Decimal], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_ATTRIBUTE = "attribute "
_CONDITION = re.compile(r"\s*(?P<subject>.+?)\s*(?P<comparison><=|>=|==|!=|<|>)\s*(?P<value>.+?)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """``subject comparison value``."""

    subject: str
    """One of the numbers, ``owner``, ``gpu_model``, or ``attribute KEY``."""
    comparison: str
    value: str
    number: Decimal | None = None
    """``value``, where numbers are compared."""

    def __str__(self) -> str:
        return f"{self.subject} {self.comparison} {self.value}"


def condition(text: str) -> Condition:
    """From ``gpus >= 1``, ``gpu_model != t4`` or ``attribute region == eu-*``; else ``ValueError``."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a condition such as gpus >= 1")
    subject, comparison, value = found["subject"], found["comparison"], found["value"].strip("'\"")
    if subject in _NUMBERS:
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise ValueError(f"{text!r}: {value!r} is not a number") from None
        return Condition(subject=subject, comparison=comparison, value=value, number=number)
    if subject not in ("owner", "gpu_model") and not subject.startswith(_ATTRIBUTE):
        known = ", ".join((*_NUMBERS, "owner", "gpu_model", "attribute KEY"))
        raise ValueError(f"{text!r}: nothing is called {subject!r}; there are {known}")
    if comparison not in ("==", "!="):
        raise ValueError(f"{text!r}: {subject} is text, which is compared with == and !=")
    return Condition(subject=subject, comparison=comparison, value=value)


def found(wanted: Condition, order: Order) -> str | None:
    """None where the condition holds of ``order``, else what there is instead."""
    if wanted.number is not None:
        amount = _NUMBERS[wanted.subject](order.group)
        holds = _ORDERINGS[wanted.comparison](amount, wanted.number)
        return None if holds else f"{amount.normalize():f}"
    texts = _texts(wanted.subject, order)
    is_there = any(fnmatchcase(text, wanted.value) for text in texts)
    if is_there is (wanted.comparison == "=="):
        return None
    return ", ".join(texts) or "none"


def _texts(subject: str, order: Order) -> tuple[str, ...]:
    if subject == "owner":
        return (order.id.owner,)
    if subject == "gpu_model":
        asks = (unit.resources.gpu for unit in order.group.units)
        return tuple(sorted({each.model or "*" for ask in asks for each in ask.alternatives}))
    key = subject.removeprefix(_ATTRIBUTE)
    return tuple(each.value for each in order.group.requirements.attributes if each.key == key)
