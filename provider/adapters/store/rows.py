"""The core's values as JSON and back, for the store's rows.

Owns the text form of what Python's types do not say (exact decimals, secrets, the union of effects).
A secret is written as it is: what holds one is sealed before it goes into the file (``sealing``).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeVar

from cattrs.preconf.json import JsonConverter, make_converter
from cattrs.strategies import configure_tagged_union

from provider.core.effects import Effect
from provider.core.learning import WinCurve
from provider.core.state import Lease, OpenBid, WaitingOrder
from provider.domain.gpu_health import GpuRecord
from provider.domain.idle import IdleRun
from provider.domain.secret import Secret

T = TypeVar("T")


def _converter() -> JsonConverter:
    converter = make_converter(omit_if_default=True)
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, lambda text, _: Decimal(text))
    converter.register_unstructure_hook(Secret, Secret.reveal)
    converter.register_structure_hook(Secret, lambda text, _: Secret(text))
    configure_tagged_union(Effect, converter, tag_name="effect")
    return converter


_CONVERTER = _converter()


def effect_text(effect: Effect) -> str:
    return _CONVERTER.dumps(effect, unstructure_as=Effect)


def effect_value(text: str) -> Effect:
    loaded: Effect = _CONVERTER.loads(text, Effect)  # type: ignore[arg-type]  # a union is no class
    return loaded


def row_text(value: OpenBid | Lease | WaitingOrder | GpuRecord | WinCurve | IdleRun) -> str:
    return _CONVERTER.dumps(value)


def row_value(text: str, kind: type[T]) -> T:
    loaded: Any = _CONVERTER.loads(text, kind)
    assert isinstance(loaded, kind), f"a row of {kind.__name__} reads as one"
    return loaded
