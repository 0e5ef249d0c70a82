"""The quick way to text is the library's, byte for byte."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from structlog.testing import capture_logs

from provider.adapters.telemetry.renderer import END, SPARE_LINES, Renderer, family_of
from provider.adapters.telemetry.rows.sample import Sample
from provider.adapters.telemetry.table.metric import Metric, counter, gauge
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
VALUES = st.floats().map(lambda value: value + 0.0) | st.integers(-(2**70), 2**70) | st.booleans() | st.none()


class Told:
    """A collector of one metric."""

    def __init__(self, metric: Metric, samples: list[Sample]) -> None:
        self._metric, self._samples = metric, samples

    def collect(self) -> list[object]:
        return [family_of(self._metric, self._samples)]


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS, PROMETHEUS])
@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@given(data=st.data())
def test_whatever_is_in_labels_and_figures(accept: str, metric: Metric, data: st.DataObject) -> None:
    labels = st.tuples(*(st.text(st.characters(exclude_categories=["Cs"])) for _ in metric.labels))
    samples: list[Sample] = data.draw(st.lists(st.tuples(labels, VALUES), max_size=5))
    encode, content_type = choose_encoder(accept)
    registry = CollectorRegistry()
    registry.register(Told(metric, samples))  # type: ignore[arg-type]  # it has what is asked of one
    quick = Renderer()
    for _ in range(2):
        rendered = quick.render(iter([(metric, samples)]), encode, content_type)
        assert rendered == encode(registry).removesuffix(END)


@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS, PROMETHEUS])
def test_a_whole_host(accept: str) -> None:
    encode, content_type = choose_encoder(accept)

    async def body() -> tuple[bytes, bytes]:
        host = BusyHost()
        async with host.alive():
            await busy_story.happen(host)
            host.exposition()
            return host.metrics.render(encode, content_type), encode(host.metrics.registry)

    def ours(exposition: bytes) -> list[bytes]:
        """The process's own figures move between two looks."""
        lines = exposition.splitlines()
        return [line for line in lines if not line.startswith((b"process_", b"python_"))]

    with capture_logs():
        quick, slow = vtime.run(body())
    assert len(ours(quick)) > 1_000
    assert ours(quick) == ours(slow)


def test_lines_of_what_is_gone_are_let_go() -> None:
    metric = METRICS[0]
    encode, content_type = choose_encoder(TEXT)
    renderer = Renderer()
    for number in range(1_000):
        samples: list[Sample] = [((f"lease-{number}", "x"), 1.0)]
        text = renderer.render(iter([(metric, samples)]), encode, content_type)
        assert f'lease="lease-{number}"' in text.decode()
        assert len(renderer._lines[metric.name]) <= SPARE_LINES + 2


def test_what_moved_is_written_anew() -> None:
    metric = METRICS[0]
    encode, content_type = choose_encoder(TEXT)
    renderer = Renderer()
    for value in (1.0, 1.0, 2.0, 1.0, math.nan, math.nan):
        samples: list[Sample] = [(("a", "x"), value), (("b", "x"), 7.0)]
        assert renderer.render(iter([(metric, samples)]), encode, content_type) == Renderer().render(
            iter([(metric, samples)]), encode, content_type
        )


def test_special_figures_are_as_go_writes_them() -> None:
    metric = METRICS[1]
    encode, content_type = choose_encoder(TEXT)
    for value, text in ((math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"), (2e9, "2e+09")):
        rendered = Renderer().render(iter([(metric, [((), value)])]), encode, content_type)
        assert rendered.decode().splitlines()[-1] == f"provider_b {text}"
