"""What the operator wants of bids beside their price: how full, how bold, for whom. Values only.

Made from the ``bidding`` block of the configuration in ``app``; each rule reads its own part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum


class NumaPinning(StrEnum):
    """What a lease is held to that has all of its GPUs at one NUMA node."""

    OFF = "off"
    CPUS = "cpus"
    """To the node's CPUs: memory comes from there as long as there is any, as Linux does it."""
    STRICT = "strict"
    """To the node's CPUs and memory: it gets no other, not even when that is short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overcommit:
    """How many times over things are promised; at least 1. Never GPUs, nor ports."""

    cpu: Decimal = Decimal(1)
    memory: Decimal = Decimal(1)
    storage: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BidPolicy:
    """All of it."""

    overcommit: Overcommit = field(default_factory=Overcommit)
    overbid: int = 1
    """In how many open bids the same GPU, CPUs and bytes may be; one of them at most becomes a lease."""
    numa: NumaPinning = NumaPinning.CPUS
