"""What the modules beside this yield: groups of metrics, and each card's or lease's part in them.

Owns the one rule that lets text be kept: a part's series follow from what it is told from, and from nothing
else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from provider.adapters.telemetry.table.metric import Metric
from provider.domain.gpu import Gpu
from provider.domain.node import Node

Sample = tuple[tuple[str, ...], float | None]
"""Label values in the order of the declaration, and the figure; None for no series."""
Rows = Iterator[tuple[Metric, Iterable[Sample]]]
Cards = list[tuple[Node, Gpu]]
"""Every card, with the node that it is in."""
Part = tuple[str, tuple[object, ...]]
"""Whose it is (unique within its group), and the values, never changed in place, that it is told from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Metrics of which each part has some series."""

    metrics: tuple[Metric, ...]
    tell: Callable[..., Rows]
    """Takes what a part is told from; every metric of the group, in its order."""
    parts: Iterable[Part]


def truth(is_so: bool) -> str:
    """As a label has it."""
    return "true" if is_so else "false"
