"""What a scrape and sampling cost: 8 cards and 100 leases, every scrape rendered, sampling going on.

Baselines of a scrape: Python's own server of static files with the same bytes, in the same run, and the
budget. Here scrapes come more often than samples, and much stands still between two; so there is also what it
costs when nothing does, by itself, and a series' share of that with few leases and with many: CPU time, of
which other work on the machine takes little. Of sampling and memory: budgets. ``BENCH_SWEEPS`` says how many
sweeps the look at memory takes.
"""

from __future__ import annotations

import asyncio
import gc
import gzip
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import cycle
from pathlib import Path

from prometheus_client.exposition import choose_encoder

from provider.adapters.clock import SystemClock
from provider.adapters.gpu.probe import NvmlProbe
from provider.adapters.gpu.settings import NvmlSettings
from provider.adapters.telemetry.exposition import packed
from provider.adapters.telemetry.metrics import Metrics
from provider.adapters.telemetry.view import LeaseView, Snapshot, TelemetryView
from provider.app.measuring import watch_readings
from provider.domain.ids import GpuUuid
from provider.domain.resources import GIB, MIB
from provider.domain.usage import UsageCounter
from provider.sim.gpu import SimulatedGpus, SimulatedProbe
from provider.sim.nvml.build import build_library
from provider.sim.nvml.state import SimulatedDriver
from tests.bench.scrape_host import CARDS
from tests.unit.telemetry.test_metrics_table import lease, node

LEASES = 100
LEASES_SEVERAL = (25, 50, LEASES, 200)
ROUNDS = 120
SCRAPES = 300
PAUSE_S = 0.02
IDLE_S = 10.0
SAMPLING_S = 20.0
SWEEPS = int(os.environ.get("BENCH_SWEEPS", "10000"))
LEASES_GONE = 1_000
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
"""As Prometheus asks."""
HEADERS = ("Host: h", f"Accept: {ACCEPT}", "Accept-Encoding: gzip", "Connection: close")


def rows() -> list[dict[str, object]]:
    with _host(LEASES) as (port, pid):
        cpu_ms = asyncio.run(_cpu_of_a_scrape_ms(port, pid))
        ours = asyncio.run(_scrapes(port, "/metrics", SCRAPES))
        body = asyncio.run(_scrape(port, "/metrics"))[1]
    with _static(body) as port:
        static = asyncio.run(_scrapes(port, "/body", SCRAPES))
    moved_ms, series_us = _moved(LEASES_SEVERAL)
    dearest, cheapest = (pick(series_us, key=series_us.__getitem__) for pick in (max, min))
    series = gzip.decompress(body).count(b"\n")
    return [
        _row(f"scrape of {series} lines, median (baseline: static file)", ours[0], static[0], "ms", 10.0),
        _row(f"scrape of {series} lines, 99th (baseline: static file)", ours[1], static[1], "ms", 10.0),
        _row("scrape, CPU of the daemon (baseline: budget)", cpu_ms, 5.0, "ms", 1.0),
        _row("scrape, median (baseline: budget)", ours[0], 5.0, "ms", 1.0),
        _row("scrape, 99th percentile (baseline: budget)", ours[1], 20.0, "ms", 1.0),
        _row(
            "scrape in which every figure moved, CPU but for HTTP (baseline: budget)",
            moved_ms,
            5.0,
            "ms",
            1.0,
        ),
        _row(
            f"one series of {dearest} leases (baseline: of {cheapest}; the ends of {LEASES_SEVERAL})",
            series_us[dearest],
            series_us[cheapest],
            "us CPU",
            1.25,
        ),
        _row(
            "sampling 8 cards (baseline: budget)", asyncio.run(_sampling_percent()), 1.0, "% of a core", 1.0
        ),
        _row(
            f"memory grown over {SWEEPS} sweeps and {LEASES_GONE} leases (baseline: budget)",
            asyncio.run(_grown_mib()),
            2.0,
            "MiB",
            1.0,
        ),
    ]


def _row(name: str, ours: float, baseline: float, unit: str, target: float) -> dict[str, object]:
    return {
        "name": name,
        "ours": round(ours, 3),
        "baseline": round(baseline, 3),
        "unit": unit,
        "ratio": round(ours / baseline, 3),
        "target": target,
    }


@contextmanager
def _host(leases: int) -> Iterator[tuple[int, int]]:
    """Its port and its process."""
    argv = [sys.executable, "-m", "tests.bench.scrape_host", str(leases)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None, "it is a pipe"
        assert process.stdout is not None, "it is a pipe"
        yield int(process.stdout.readline()), process.pid
        process.stdin.close()


@contextmanager
def _static(body: bytes) -> Iterator[int]:
    """Python's server of files, with ``/body``."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "body").write_bytes(body)
        argv = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", folder]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None, "it is a pipe"
            yield int(process.stdout.readline().split(" port ")[1].split()[0])
            process.terminate()


async def _scrapes(port: int, path: str, count: int) -> tuple[float, float]:
    """Median and 99th percentile, in milliseconds, as the client has them."""
    took = []
    for _ in range(count):
        took.append((await _scrape(port, path))[0])
        await asyncio.sleep(PAUSE_S)
    return statistics.median(took), statistics.quantiles(took, n=100)[98]


async def _cpu_of_a_scrape_ms(port: int, pid: int) -> float:
    """Without what it uses anyway: of how busy the machine is besides, this says nothing."""

    async def used_s(scrapes: int) -> tuple[float, float]:
        before, began = _cpu_s(pid), time.monotonic()
        await (_scrapes(port, "/metrics", scrapes) if scrapes else asyncio.sleep(IDLE_S))
        return _cpu_s(pid) - before, time.monotonic() - began

    await _scrapes(port, "/metrics", 3)  # what is written once is written
    at_rest_s, rested_s = await used_s(0)
    busy_s, lasted_s = await used_s(SCRAPES)
    return 1000 * (busy_s - at_rest_s * lasted_s / rested_s) / SCRAPES


async def _scrape(port: int, path: str) -> tuple[float, bytes]:
    """From dialling to the last byte, in milliseconds, and the body."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write("\r\n".join((f"GET {path} HTTP/1.1", *HEADERS, "", "")).encode())
    answer = await reader.read(-1)
    took_ms = 1000 * (time.perf_counter() - began)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0], head
    return took_ms, body


def _moved(counts: tuple[int, ...]) -> tuple[float, dict[int, float]]:
    """CPU of showing, rendering and packing when every figure of a lease or card is another than at the last
    look: milliseconds with ``LEASES``, and microseconds of a lease's series by number of leases."""
    hosts = {count: (Metrics(version="bench"), cycle(asyncio.run(_moving(count)))) for count in (0, *counts)}
    encode, content_type = choose_encoder(ACCEPT)
    took: dict[int, list[float]] = {count: [] for count in hosts}
    lines: dict[int, int] = {}
    for _ in range(ROUNDS):  # each size in turn: what disturbs the machine for a while disturbs all
        for count, (metrics, looks) in hosts.items():
            snapshot = next(looks)
            began = time.process_time()
            metrics.show(snapshot)
            pieces = metrics.render(encode, content_type)
            packed(pieces)
            took[count].append(time.process_time() - began)
            body = b"".join(pieces)
            lines[count] = body.count(b'{lease="') + body.count(b',lease="')
    usual = {count: statistics.quantiles(each, n=4)[0] for count, each in took.items()}
    return 1e3 * usual[LEASES], {
        count: 1e6 * (usual[count] - usual[0]) / (lines[count] - lines[0]) for count in counts
    }


async def _moving(leases: int) -> list[Snapshot]:
    """A host at several moments."""
    probe = SimulatedProbe([SimulatedGpus(model="h100", count=CARDS)], SystemClock(), seed="bench")
    nodes = (replace(node(), inventory=await probe.discover()),)
    cards = [gpu.uuid for gpu in nodes[0].gpus]
    snapshots = []
    for moment in range(1, 6):
        for number, uuid in enumerate(cards):
            probe.load(uuid, (moment + number) / 20)
        held = tuple(_used(f"lease-{n:03}", cards[n : n + 1], moment) for n in range(leases))
        snapshots.append(Snapshot(view=TelemetryView(nodes=nodes, leases=held), readings=probe.readings()))
        await asyncio.sleep(0.01)
    return snapshots


def _used(key: str, gpus: list[GpuUuid], moment: int) -> LeaseView:
    view = lease(key, *gpus, earned=1_234_567 * moment)
    assert view.usage is not None, "it is told of in full"
    (service,) = view.usage.services
    counters = {counter: 123_456_789 * moment + n for n, counter in enumerate(UsageCounter)}
    service = replace(
        service,
        counters=counters,
        memory_bytes=MIB * moment,
        memory_limit_bytes=GIB * moment,
        restarts=moment,
    )
    shown = tuple(
        replace(each, utilization_ratio=moment / 7, busy_s=moment / 3, memory_bytes=GIB * moment)
        for each in view.usage.gpus
    )
    shown = tuple(replace(each, power_watts=97.3 * moment, energy_joules=97.3 * moment) for each in shown)
    usage = replace(view.usage, services=(service,), gpus=shown, disk_bytes=4096 * moment)
    return replace(view, ran_ms=2_000 * moment, usage=usage)


async def _sampling_percent() -> float:
    """CPU of this process and of the one that reads the cards, at the default periods."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        driver = stack.enter_context(SimulatedDriver(build_library(Path("build/tests")), Path(folder)))
        for _ in range(CARDS):
            driver.add("h100")
        settings = NvmlSettings(nvml_library=str(driver.library))
        async with NvmlProbe(settings, SystemClock()) as probe:
            await probe.discover()
            while not probe.readings():  # noqa: ASYNC110 - another process is waited for
                await asyncio.sleep(0.1)
            watch = watch_readings(
                probe, Metrics(version="bench"), lambda _pid: None, every_s=settings.interval_s
            )
            watching = asyncio.create_task(watch)
            worker = probe.status().worker_pid
            assert worker is not None, "it has just read"
            before, began = _cpu_s("self", worker), time.monotonic()
            await asyncio.sleep(SAMPLING_S)
            percent = 100 * (_cpu_s("self", worker) - before) / (time.monotonic() - began)
            watching.cancel()
    return percent


def _cpu_s(*processes: int | str) -> float:
    ticks = 0
    for pid in processes:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def _grown_mib() -> float:
    """Between the first tenth of the sweeps and the last."""
    probe = SimulatedProbe([SimulatedGpus(model="h100", count=CARDS)], SystemClock(), seed="bench")
    nodes = (replace(node(), inventory=await probe.discover()),)
    uuids = [gpu.uuid for gpu in nodes[0].gpus]
    metrics = Metrics(version="bench")
    encode, content_type = choose_encoder(ACCEPT)
    first_mib = 0.0
    for sweep in range(SWEEPS):
        newest = sweep * LEASES_GONE // SWEEPS
        held = tuple(lease(f"lease-{newest + n}", uuid, earned=sweep) for n, uuid in enumerate(uuids))
        metrics.nvml_sweep(0.002)
        metrics.show(Snapshot(view=TelemetryView(nodes=nodes, leases=held), readings=probe.readings()))
        if sweep % 10 == 0:
            packed(metrics.render(encode, content_type))
        if sweep == SWEEPS // 10:
            first_mib = _rss_mib()
    return max(_rss_mib() - first_mib, 0.0)


def _rss_mib() -> float:
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("a living process has a resident set")
