"""How a metric is declared: name, kind, labels, help.

Rules: base units; ``_total`` on counters and only there; labels from bounded sets; constants in ``_info``
series joined by ``uuid`` or ``lease``; what is not known has no series, never a zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """``buckets`` only for histograms, in seconds."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def gauge(name: str, help_text: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, help=help_text, labels=labels)


def counter(name: str, help_text: str, *labels: str) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, help=help_text, labels=labels)


def histogram(name: str, help_text: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name=name, kind=Kind.HISTOGRAM, help=help_text, labels=labels, buckets=buckets)
