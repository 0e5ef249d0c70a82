"""The market's bounds on what can be asked for.

Akash's ``go/node/deployment/v1beta4/validation_config.go``: network-wide, for one replica (a unit) and
for a whole group, which is 50 units.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from provider.domain.resources import MIB

_TIB = 1024**4
UNITS_IN_GROUP = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    least: int
    most: int
    text: str

    @property
    def most_in_group(self) -> int:
        return self.most * UNITS_IN_GROUP


CPU = Bound(least=10, most=384_000, text="10m to 384 cores")
GPU = Bound(least=0, most=24, text="0 to 24 GPUs")
MEMORY = Bound(least=MIB, most=2 * _TIB, text="1Mi to 2Ti")
STORAGE = Bound(least=5 * MIB, most=32 * _TIB, text="5Mi to 32Ti")
COUNT = Bound(least=1, most=50, text="1 to 50 replicas")
GROUPS = 20
"""Placements of a deployment, and resource units of a group. Akash declares it and does not check it."""
VOLUMES = 64
"""Volumes of a replica. Akash has no bound here, and its providers take 4."""
ALTERNATIVES = 256
"""Kinds of GPU of which any would do. Akash has no bound."""
USES = 1000
"""Services at placements. Akash has no bound beyond the size of a transaction."""
PRICE_MOST = Decimal(10_000_000)
