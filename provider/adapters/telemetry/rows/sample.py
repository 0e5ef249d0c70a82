"""What the modules beside this yield."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from provider.adapters.telemetry.table.metric import Metric
from provider.domain.gpu import Gpu
from provider.domain.node import Node

Sample = tuple[tuple[str, ...], float | None]
"""Label values in the order of the declaration, and the figure; None for no series."""
Rows = Iterator[tuple[Metric, Iterable[Sample]]]
Cards = list[tuple[Node, Gpu]]
"""Every card, with the node that it is in."""


def truth(is_so: bool) -> str:
    """As a label has it."""
    return "true" if is_so else "false"
