"""State to text without the library's detour: what has not moved since the last time is not written again.

Owns the text of every part of a group that is there, the last line of every other series, and the titles of
metrics, which the library itself writes once. Invariant: byte for byte what the library makes of the same
samples (a test holds it to that; only that a zero has no sign); what is gone is forgotten at the next look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.utils import floatToGoString

from provider.adapters.telemetry.counted import Counted
from provider.adapters.telemetry.rows.sample import Group, Rows, Sample
from provider.adapters.telemetry.table.metric import Kind, Metric

Encode = Callable[[CollectorRegistry], bytes]
END = b"# EOF\n"
"""Of an exposition in OpenMetrics."""
OPENMETRICS = "application/openmetrics-text"
PLAIN_MOST = 10**6
"""Below this the library writes a figure as Python does."""
EXACT_MOST = 2**53
"""Up to here a float has all of a whole number's digits."""


def family_of(metric: Metric, samples: Iterable[Sample] = ()) -> Family:
    """As the library has it."""
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        if value is not None:
            family.add_metric(labels, value)
    return family


def families_of(group: Group) -> Iterator[Family]:
    """Those of a group, as the library has them."""
    samples: list[list[Sample]] = [[] for _ in group.metrics]
    for _, told_from in group.parts:
        for known, (_, told) in zip(samples, group.tell(*told_from), strict=True):
            known.extend(told)
    return map(family_of, group.metrics, samples)


Labels = tuple[str, ...]
Heads = dict[Labels, str]
"""By a series' label values: all of its line but the figure."""
Lines = dict[Labels, tuple[float, str, str]]
"""By a series' label values: its last figure, its head, its last line."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A part as it was last written."""

    told_from: tuple[object, ...]
    texts: tuple[str, ...]
    """A metric of the group each."""
    heads: Sequence[Heads]


Parts = dict[str, _Written]
"""By whose they are, in their order."""


class Renderer:
    """Of one registry, and whatever format is asked for."""

    def __init__(self) -> None:
        self._written: dict[Callable[..., Rows], Parts] = {}
        """By the way in which their group tells."""
        self._pages: dict[tuple[Callable[..., Rows], str], tuple[Parts, bytes]] = {}
        """By format too: of which parts, and all that is said of them."""
        self._lines: dict[str, Lines] = {}
        self._standing: dict[tuple[Counted, str], tuple[object, str]] = {}
        """By format: when it moved, and what was written then."""
        self._titles: dict[tuple[str, str], str] = {}

    def render(self, groups: Iterable[Group], encode: Encode, content_type: str) -> list[bytes]:
        """The gauges and counters of ``groups`` in the format that ``encode`` writes, without an end."""
        return [self._group(group, encode, content_type) for group in groups]

    def _group(self, group: Group, encode: Encode, content_type: str) -> bytes:
        parts = self._parts(group)
        of, page = self._pages.get((group.tell, content_type), (None, b""))
        if of is not parts:
            text: list[str] = []
            columns = zip(*(part.texts for part in parts.values()), strict=True)
            for metric in group.metrics:
                title = self._titles.get((metric.name, content_type))
                text.append(title or self._title(metric.name, family_of(metric), encode, content_type))
                text += next(columns, ())
            page = "".join(text).encode()
            self._pages[group.tell, content_type] = parts, page
        return page

    def _parts(self, group: Group) -> Parts:
        """As they are written, of which only those are made anew that are told from something new; the same
        as last time where none is."""
        before: Parts = self._written.get(group.tell, {})
        now: Parts = {}
        is_same = group.tell in self._written
        for whose, told_from in group.parts:
            part = before.get(whose)
            if part is None or part.told_from != told_from:
                heads = tuple({} for _ in group.metrics) if part is None else part.heads
                part = _write(group, told_from, heads)
                is_same = False
            now[whose] = part
        if is_same and list(now) == list(before):
            return before
        self._written[group.tell] = now
        return now

    def render_counted(self, counted: Iterable[Counted], encode: Encode, content_type: str) -> bytes:
        """The library's own that say when they move, without an end."""
        texts: list[str] = []
        for each in counted:
            moved, text = self._standing.get((each, content_type), (None, ""))
            now = each.moved  # before the figures are looked at: a move meanwhile is seen the next time
            if moved is not now:
                text = self._families(each.collect(), encode, content_type)
                self._standing[each, content_type] = now, text
            texts.append(text)
        return "".join(texts).encode()

    def render_families(self, families: Iterable[Family], encode: Encode, content_type: str) -> bytes:
        """The library's own, whatever they are, but no exemplars: there are none here. With the end."""
        end = END if content_type.startswith(OPENMETRICS) else b""
        return self._families(families, encode, content_type).encode() + end

    def _families(self, families: Iterable[Family], encode: Encode, content_type: str) -> str:
        text = ""
        for family in families:
            title = self._titles.get((family.name, content_type))
            text += (title or self._title(family.name, family, encode, content_type)) + self._series(family)
        return text

    def _series(self, family: Family) -> str:
        known = self._lines.get(family.name, {})
        lines: Lines = {}
        text = ""
        for sample in family.samples:
            labels, value = (sample.name, *sample.labels.values()), sample.value
            line = known.get(labels)
            if line is None or line[0] != value:
                head = line[1] if line else _head(sample.name, sample.labels.items())
                line = value, head, f"{head}{_figure(value)}\n"
            lines[labels] = line
            text += line[2]
        self._lines[family.name] = lines
        return text

    def _title(self, name: str, family: Family, encode: Encode, content_type: str) -> str:
        bare = Family(family.name, family.documentation, family.type, family.unit)
        title = _alone(bare, encode).removesuffix(END).decode()
        self._titles[name, content_type] = title
        return title


def _figure(value: float) -> str:
    if -PLAIN_MOST < value < PLAIN_MOST:
        return repr(float(value))
    if isinstance(value, int) and 0 < value <= EXACT_MOST:  # most are bytes: three times as quick
        digits = str(value)
        mantissa = f"{digits[0]}.{digits[1:]}".rstrip("0.")
        return f"{mantissa}e+{len(digits) - 1:02d}"
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text


def _write(group: Group, told_from: tuple[object, ...], heads: Sequence[Heads]) -> _Written:
    """``heads`` as far as they are known; afterwards they are of the series that are there."""
    texts: list[str] = []
    for metric, known, (told, samples) in zip(group.metrics, heads, group.tell(*told_from), strict=True):
        assert told is metric, f"{told.name} is told in the place of {metric.name}"
        text, count = "", 0
        for labels, value in samples:
            if value is not None:
                head = known.get(labels)
                if head is None:
                    head = known[labels] = _head(metric.name, zip(metric.labels, labels, strict=True))
                if -PLAIN_MOST < value < PLAIN_MOST:
                    text += f"{head}{float(value)!r}\n"
                else:
                    text += f"{head}{_figure(value)}\n"
                count += 1
        if len(known) > count:
            there = {labels for labels, value in samples if value is not None}
            for labels in known.keys() - there:
                del known[labels]
        texts.append(text)
    return _Written(told_from, tuple(texts), heads)


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
