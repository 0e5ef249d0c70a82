"""Which cards a price is for: ``a100``, ``a100/80Gi``, ``a100/sxm``, ``a100/mig-1g.10gb``, ``*``.

Owns that small grammar and the choice between entries that all fit: the one that says more. A key without
``mig-`` is of whole cards; an instance that has no key of its own costs its share of the card's price.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from provider.core.cards import is_kind
from provider.domain.gpu import Gpu
from provider.domain.resources import GpuAlternative

GRAMMAR = "such as h100, a100/80Gi, a100/80Gi/sxm, a100/mig-1g.10gb or *"
CARD_SLICES = 7
"""Compute slices of a card under MIG (NVIDIA's MIG user guide): an instance has one to seven of them."""
_MODEL = re.compile(r"\*|[a-z0-9][a-z0-9-]*")
_RAM = re.compile(r"[1-9][0-9]{0,4}Gi")
_MIG = re.compile(r"mig-([1-9]g\.[0-9]+gb(?:\+\w+)*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuKey:
    """Cards of one kind. None means any."""

    model: str | None
    ram: str | None = None
    interface: str | None = None
    mig: str | None = None
    """The profile, ``1g.10gb``."""

    @property
    def says(self) -> int:
        """How much: a model more than all else, a profile more than memory, that more than the interface."""
        return (
            8 * (self.model is not None)
            + 4 * (self.mig is not None)
            + 2 * (self.ram is not None)
            + (self.interface is not None)
        )


@lru_cache(maxsize=1024)
def parse(text: str) -> GpuKey:
    """``text`` as a key; ``ValueError`` names what it should look like."""
    model, *rest = text.split("/")
    if not _MODEL.fullmatch(model):
        raise ValueError(f"{text!r} names no card: write it {GRAMMAR}")
    told: dict[str, str] = {}
    for word in rest:
        profile = _MIG.fullmatch(word)
        if profile:
            name, value = "mig", profile[1]
        elif _RAM.fullmatch(word):
            name, value = "ram", word
        elif word in ("pcie", "sxm"):
            name, value = "interface", word
        else:
            raise ValueError(f"{text!r}: {word!r} is no memory, interface or MIG profile: write it {GRAMMAR}")
        if name in told:
            raise ValueError(f"{text!r} says its {name} twice")
        told[name] = value
    return GpuKey(model=None if model == "*" else model, **told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A value of the most telling key, and how much of a whole card it is multiplied by."""

    value: Decimal
    share: Fraction = Fraction(1)


def look_up(values: Mapping[str, Decimal], gpu: Gpu) -> Found | None:
    """What ``values`` say of ``gpu``; None where no key fits. All of them have to parse."""
    fitting = [(key.says, text) for text in values if _fits(key := parse(text), gpu)]
    if not fitting:
        return None
    _, best = max(fitting)
    share = Fraction(1) if parse(best).mig else share_of_card(gpu)
    return Found(value=values[best], share=share)


def share_of_card(gpu: Gpu) -> Fraction:
    """1 for a whole card, and for an instance of which the driver does not tell how large it is."""
    if gpu.mig is None or gpu.mig.slices is None:
        return Fraction(1)
    return Fraction(gpu.mig.slices, CARD_SLICES)


def name_of(gpu: Gpu) -> str:
    """``h100``, ``a100/mig-1g.10gb``: how a card is called in a price."""
    return f"{gpu.model}/mig-{gpu.mig.profile}" if gpu.mig else gpu.model


def _fits(key: GpuKey, gpu: Gpu) -> bool:
    if key.mig is not None and (gpu.mig is None or gpu.mig.profile != key.mig):
        return False
    kind = GpuAlternative(vendor="nvidia", model=key.model, ram=key.ram, interface=key.interface)
    return is_kind(gpu, kind)
