"""State to text without the library's detour: what has not moved since the last time is not written again.

Owns the last line of every series that is there, and the titles of metrics, which the library itself writes
once. Invariant: byte for byte what the library makes of the same samples (a test holds it to that; only that
a zero has no sign); and no more lines are kept than about twice the series that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.utils import floatToGoString

from provider.adapters.telemetry.rows.sample import Rows, Sample
from provider.adapters.telemetry.table.metric import Kind, Metric

Encode = Callable[[CollectorRegistry], bytes]
END = b"# EOF\n"
"""Of an exposition in OpenMetrics."""
OPENMETRICS = "application/openmetrics-text"
SPARE_LINES = 64


def family_of(metric: Metric, samples: Iterable[Sample] = ()) -> Family:
    """As the library has it."""
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        if value is not None:
            family.add_metric(labels, value)
    return family


Labels = tuple[str, ...]
Lines = dict[Labels, tuple[float, str, str]]
"""By a series' label values: its last figure, its head, its last line."""


class Renderer:
    """Used by one thread at a time."""

    def __init__(self) -> None:
        self._lines: dict[str, Lines] = {}
        self._titles: dict[tuple[str, str], str] = {}

    def render(self, rows: Rows, encode: Encode, content_type: str) -> bytes:
        """Each gauge or counter of ``rows`` in the format that ``encode`` writes, without an end."""
        text: list[str] = []
        for metric, samples in rows:
            text.append(self._title(metric.name, content_type, encode, partial(family_of, metric)))
            labels_of = metric.labels
            known = self._lines.setdefault(metric.name, {})
            before = len(text)
            for labels, value in samples:
                if value is not None:
                    line = known.get(labels)
                    if line is None or line[0] != value:
                        head = line[1] if line else _head(metric.name, zip(labels_of, labels, strict=True))
                        line = known[labels] = (value, head, f"{head}{_figure(value)}\n")
                    text.append(line[2])
            self._forget(metric.name, len(text) - before)
        return "".join(text).encode()

    def render_families(self, families: Iterable[Family], encode: Encode, content_type: str) -> bytes:
        """The library's own, histograms too, but no exemplars: there are none here. With the end."""
        text: list[str] = []
        for family in families:
            text.append(self._title(family.name, content_type, encode, partial(_without_samples, family)))
            known = self._lines.setdefault(family.name, {})
            for sample in family.samples:
                labels, value = (sample.name, *sample.labels.values()), sample.value
                line = known.get(labels)
                if line is None or line[0] != value:
                    head = line[1] if line else _head(sample.name, sample.labels.items())
                    line = known[labels] = (value, head, f"{head}{_figure(value)}\n")
                text.append(line[2])
            self._forget(family.name, len(family.samples))
        end = END if content_type.startswith(OPENMETRICS) else b""
        return "".join(text).encode() + end

    def _forget(self, name: str, present: int) -> None:
        """Lines of leases that are over: those that live are written again."""
        if len(self._lines[name]) > 2 * present + SPARE_LINES:
            self._lines[name].clear()

    def _title(self, name: str, content_type: str, encode: Encode, family: Callable[[], Family]) -> str:
        title = self._titles.get((name, content_type))
        if title is None:
            title = _alone(family(), encode).removesuffix(END).decode()
            self._titles[name, content_type] = title
        return title


def _figure(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text


def _without_samples(family: Family) -> Family:
    return Family(family.name, family.documentation, family.type, family.unit)


class _Only:
    """A collector of one family."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterable[Family]:
        return (self._family,)


def _alone(family: Family, encode: Encode) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Only(family))
    return encode(registry)


def _head(name: str, labels: Iterable[tuple[str, str]]) -> str:
    told = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(labels))
    return f"{name}{{{told}}} " if told else f"{name} "


def _escaped(value: str) -> str:
    """A label's value in either format."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
