"""The quick way to text is the library's, byte for byte."""

from __future__ import annotations

import asyncio
import math
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from structlog.testing import capture_logs

from provider.adapters.telemetry.counted import Count, Spread
from provider.adapters.telemetry.renderer import END, EXACT_MOST, PLAIN_MOST, Encode, Renderer, families_of
from provider.adapters.telemetry.rows.sample import Group, Rows, Sample
from provider.adapters.telemetry.table.metric import Metric, counter, gauge, histogram
from provider.adapters.telemetry.view import look
from provider.app import busy_story
from provider.app.busy_host import BusyHost
from provider.sim import vtime

TEXT, OPENMETRICS = "", "application/openmetrics-text; version=1.0.0"
PROMETHEUS = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;q=0.4"
METRICS = (
    gauge("provider_a_ratio", 'Says "so", and \\ too.', "lease", "a"),
    gauge("provider_b", "Plain."),
    counter("provider_c_total", "Counts.", "z", "b", "m"),
)
EVERY_S = 20.0
"""Of virtual time, between two looks."""
WHOLE = st.one_of(
    st.integers(PLAIN_MOST - 9, PLAIN_MOST + 9),
    st.builds(lambda digits, zeros: digits * 10**zeros, st.integers(1, 10**6), st.integers(0, 11)),
    st.integers(EXACT_MOST - 9, EXACT_MOST + 9),
)
"""Where they are written in another way, and what ends in zeros."""
VALUES = (
    st.floats().map(lambda value: value + 0.0)
    | st.integers(-(2**70), 2**70)
    | WHOLE
    | st.booleans()
    | st.none()
)


Parts = dict[str, tuple[tuple[Sample, ...], ...]]
"""By whose they are: for each metric its samples."""


def _tell(*told: tuple[Sample, ...]) -> Rows:
    yield from zip(METRICS, told, strict=True)


def group(parts: Parts) -> Group:
    """Of all of ``METRICS``."""
    return Group(metrics=METRICS, tell=_tell, parts=list(parts.items()))


class Told:
    """A collector of one group."""

    def __init__(self, told: Group) -> None:
        self._group = told

    def collect(self) -> list[object]:
        return list(families_of(self._group))


def by_the_library(parts: Parts, encode: Encode) -> bytes:
    registry = CollectorRegistry()
    registry.register(Told(group(parts)))  # type: ignore[arg-type]  # it has what is asked of one
    return encode(registry).removesuffix(END)


def samples_of(metric: Metric) -> st.SearchStrategy[tuple[Sample, ...]]:
    labels = st.tuples(*(st.text(st.characters(exclude_categories=["Cs"])) for _ in metric.labels))
    return st.lists(st.tuples(labels, VALUES), max_size=3).map(tuple)


PARTS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.tuples(*(samples_of(metric) for metric in METRICS)), max_size=3
)


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS, PROMETHEUS])
@given(looks=st.lists(PARTS, min_size=1, max_size=3))
def test_whatever_is_in_labels_and_figures(accept: str, looks: list[Parts]) -> None:
    """At one look after another, some parts told anew, some gone, some back."""
    encode, content_type = choose_encoder(accept)
    renderer = Renderer()
    for parts in (looks[0], *looks, looks[0]):
        rendered = renderer.render([group(parts)], encode, content_type)
        assert b"".join(rendered) == by_the_library(parts, encode)


@given(moves=st.lists(st.tuples(st.sampled_from(["", "a", '"\\\n']), st.floats(0, 1e12)), max_size=6))
def test_what_is_counted(moves: list[tuple[str, float]]) -> None:
    """Whichever format is asked for after which moves."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # as ``Metrics`` does
    registry = CollectorRegistry()
    spread = Spread(histogram("provider_d_seconds", "Takes.", "op", buckets=(0.5, 2e6)), registry)
    count = Count(counter("provider_c_total", "Counts.", "op"), registry)
    renderer = Renderer()
    for number, (op, value) in enumerate(moves):
        if number % 3:
            count.inc(op, by=value)
        if number % 3 != 1:
            spread.observe(value, op)
        for accept in (TEXT, OPENMETRICS)[: 1 + number % 2]:
            encode, content_type = choose_encoder(accept)
            rendered = renderer.render_counted((spread, count), encode, content_type)
            assert rendered == encode(registry).removesuffix(END)


def test_a_whole_host_all_the_time() -> None:
    """Whatever happens to it, what was kept of earlier looks is what the library makes of this one."""
    most = 0

    async def body() -> None:
        host = BusyHost()
        async with host.alive():
            story = asyncio.create_task(busy_story.happen(host))
            for accept in cycle((TEXT, OPENMETRICS, PROMETHEUS)):
                is_over = story.done()
                compare(host, *choose_encoder(accept))
                if is_over:
                    break
                await asyncio.sleep(EVERY_S)
            await story

    def compare(host: BusyHost, encode: Encode, content_type: str) -> None:
        nonlocal most
        host.metrics.show(look(host.feed()))
        quick, slow = b"".join(host.metrics.render(encode, content_type)), encode(host.metrics.registry)
        assert ours(quick) == ours(slow)
        most = max(most, len(ours(quick)))

    def ours(exposition: bytes) -> list[bytes]:
        """The process's own figures move between two looks."""
        lines = exposition.splitlines()
        return [line for line in lines if not line.startswith((b"process_", b"python_"))]

    with capture_logs():
        vtime.run(body())
    assert most > 1_000


def one(value: float, whose: str = "a") -> Parts:
    return {whose: ((((whose, "x"), value),), (((), value),), ())}


def test_what_is_gone_is_forgotten() -> None:
    encode, content_type = choose_encoder(TEXT)
    renderer = Renderer()
    for number in range(100):
        (text,) = renderer.render([group(one(1.0, f"lease-{number}"))], encode, content_type)
        assert f'lease="lease-{number}"' in text.decode()
        assert [list(known) for known in renderer._written.values()] == [[f"lease-{number}"]]


def test_series_of_a_part_that_are_gone_are_forgotten() -> None:
    encode, content_type = choose_encoder(TEXT)
    renderer = Renderer()
    for number in range(100):
        renderer.render(
            [group({"host": one(1.0, f"lease-{number}")[f"lease-{number}"]})], encode, content_type
        )
        ((written,),) = (known.values() for known in renderer._written.values())
        assert [len(heads) for heads in written.heads] == [1, 1, 0]


def test_what_is_told_from_the_same_is_not_told_again() -> None:
    encode, content_type = choose_encoder(TEXT)
    renderer, told = Renderer(), []

    def tell(*samples: tuple[Sample, ...]) -> Rows:
        told.append(samples)
        return _tell(*samples)

    for value in (1.0, 1.0, 2.0):
        parts = list((one(value) | one(7.0, "b")).items())
        renderer.render([Group(metrics=METRICS, tell=tell, parts=parts)], encode, content_type)
    assert told == [one(1.0)["a"], one(7.0, "b")["b"], one(2.0)["a"]]


def test_a_metric_in_the_place_of_another_is_a_mistake() -> None:
    encode, content_type = choose_encoder(TEXT)
    swapped = Group(metrics=METRICS[::-1], tell=_tell, parts=list(one(1.0).items()))
    with pytest.raises(AssertionError, match="in the place of"):
        Renderer().render([swapped], encode, content_type)


def test_special_figures_are_as_go_writes_them() -> None:
    encode, content_type = choose_encoder(TEXT)
    for value, text in ((math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (2e9, "2e+09")):
        (rendered,) = Renderer().render([group(one(value))], encode, content_type)
        assert f"provider_b {text}" in rendered.decode().splitlines()
