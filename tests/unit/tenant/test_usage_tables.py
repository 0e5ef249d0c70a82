"""What people see of usage: units, rates between two looks, and nothing where nobody could tell."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console, RenderableType
from rich.table import Table

from provider.app import usage_tables
from provider.rpc.v1 import operator_pb2, resources_pb2, usage_pb2


def drawn(what: RenderableType, width: int = 200) -> list[list[str]]:
    """Rows of columns, which are two blanks apart or more."""
    out = StringIO()
    Console(file=out, width=width, highlight=False).print(what)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]


def usage(at_ms: int = 1000, **changes: object) -> usage_pb2.LeaseUsage:
    fields: dict[str, object] = {
        "service": "web",
        "cpu_s": 12.5,
        "cpu_throttled_s": 0.25,
        "memory_bytes": 48 * 2**20,
        "memory_limit_bytes": 512 * 2**20,
        "oom_kills": 0,
        "received_bytes": 1500,
        "sent_bytes": 3 * 2**20,
        "read_bytes": 0,
        "written_bytes": 5 * 2**30,
    }
    card = usage_pb2.GpuUsage(
        uuid="GPU-1",
        utilization_ratio=0.54,
        busy_s=192,
        allocated_s=360,
        memory_bytes=2 * 2**30,
        power_watts=311.6,
        energy_joules=112_000,
    )
    service = usage_pb2.ServiceUsage(**(fields | changes))  # type: ignore[arg-type]
    return usage_pb2.LeaseUsage(at_ms=at_ms, gpus=[card], services=[service], disk_bytes=24 * 2**20)


def test_totals_of_a_service() -> None:
    head, row = drawn(usage_tables.services(usage()))
    assert head == ["SERVICE", "CPU", "WAITED", "MEMORY", "NET IN", "NET OUT", "READ", "WRITTEN", "OOM"]
    memory = "48.0 of 512.0 MiB"
    assert row == ["web", "12.5 s", "250 ms", memory, "1.5 KiB", "3.0 MiB", "0 B", "5.0 GiB", "0"]


def test_rates_of_a_service_between_two_samples() -> None:
    later = usage(3000, cpu_s=15.5, received_bytes=1500 + 2 * 2048)
    meter = usage_tables.RateMeter()
    assert drawn(usage_tables.services(usage(), meter.growth(usage())))[1] == [
        *("web", "-", "250 ms", "48.0 of 512.0 MiB", "-", "-", "-", "-", "0")
    ]
    for _ in range(2):  # told of twice, sampled once
        _, row = drawn(usage_tables.services(later, meter.growth(later)))
        assert (row[1], row[4], row[5]) == ("1.50 cores", "2.0 KiB/s", "0 B/s")
        assert row[3] == "48.0 of 512.0 MiB"


def test_a_clock_that_went_back_begins_anew() -> None:
    meter = usage_tables.RateMeter()
    for at_ms, cpu_s in ((9000, 1.0), (1000, 2.0)):
        assert meter.growth(usage(at_ms, cpu_s=cpu_s)) == {}
    assert meter.growth(usage(2000, cpu_s=2.5))["web"]["cpu_s"] == 0.5


def test_a_total_that_fell_grows_by_nothing() -> None:
    meter = usage_tables.RateMeter()
    meter.growth(usage(1000))
    assert meter.growth(usage(2000, cpu_s=1.0))["web"]["cpu_s"] == 0


def test_what_nobody_could_tell_is_a_dash_and_no_zero() -> None:
    bare = usage_pb2.LeaseUsage(
        gpus=[usage_pb2.GpuUsage(uuid="GPU-1", allocated_s=2)],
        services=[usage_pb2.ServiceUsage(service="web")],
    )
    assert drawn(usage_tables.services(bare))[1] == ["web", *["-"] * 8]
    assert drawn(usage_tables.gpus(bare))[1] == ["GPU-1", "-", "-", "2.0 s", "-", "-", "-"]
    meter = usage_tables.RateMeter()
    meter.growth(bare)
    later = usage_pb2.LeaseUsage(at_ms=5, services=[usage_pb2.ServiceUsage(service="web")])
    assert drawn(usage_tables.services(later, meter.growth(later)))[1] == ["web", *["-"] * 8]


def test_a_card() -> None:
    head, row = drawn(usage_tables.gpus(usage()))
    assert head == ["GPU", "NOW", "BUSY", "OF", "MEMORY", "POWER", "ENERGY"]
    assert row == ["GPU-1", "54%", "3 m 12 s", "6 m 0 s", "2.0 GiB", "312 W", "31.1 Wh"]


def test_an_estimate_says_so() -> None:
    told = usage()
    told.gpus[0].energy_estimated = True
    assert drawn(usage_tables.gpus(told))[1][-1] == "~31.1 Wh"


@pytest.mark.parametrize(
    ("joules", "text"), [(0, "0 J"), (3599, "3599 J"), (3600, "1.0 Wh"), (9e6, "2.50 kWh")]
)
def test_energy(joules: float, text: str) -> None:
    assert usage_tables.energy(joules) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (2**60, "1024.0 PiB")]
)
def test_amount(size: float, text: str) -> None:
    assert usage_tables.amount(size) == text


def answer(width: int = 2) -> operator_pb2.GetStatusResponse:
    order = resources_pb2.OrderId(owner="alice", dseq=7, gseq=1, oseq=1)
    lease = operator_pb2.AgentLease(
        id=resources_pb2.LeaseId(order=order, provider="north"),
        key="abc",
        health=resources_pb2.LEASE_HEALTH_RUNNING,
        rate=resources_pb2.Rate(denom="uact", amount="1000"),
        running_ms=360_000,
        earned=resources_pb2.Money(denom="uact", amount_micros=60_000),
        gpu_uuids=[f"GPU-{number}" for number in range(1, 1 + width)],
        detail="[not markup]",
        usage=usage(),
    )
    idle = operator_pb2.AgentLease(id=resources_pb2.LeaseId(order=order, provider="north"), key="def")
    card = operator_pb2.GpuStatus(uuid="GPU-1", index=0, model="h100")
    return operator_pb2.GetStatusResponse(
        leases=[lease, idle], nodes=[operator_pb2.NodeStatus(name="n1", gpus=[card])]
    )


def test_the_operators_leases() -> None:
    held, used = usage_tables.leases(answer())
    head, first, second, idle, note = drawn(held)
    assert head == ["LEASE", "KEY", "STATE", "GPU", "RAN", "PRICE", "EARNED"]
    assert first == [
        *("alice/7/1/1/north", "abc", "running", "#0 h100"),
        *("6 m 0 s", "0.6000 ACT/h", "0.060000 ACT"),
    ]
    assert second == ["-"], "a card that is not known"
    assert idle[2:4] == ["-", "-"]
    assert note == ["abc: [not markup]"]
    head, first, second, idle = drawn(used)
    assert head == ["KEY", "GPU BUSY", "GPU MEMORY", "ENERGY", "CPU", "MEMORY", "DISK"]
    assert first == ["abc", "54%", "2.0 GiB", "31.1 Wh", "12.5 s", "48.0 MiB", "24.0 MiB"]
    assert second == ["-", "-", "-"], "and told nothing"
    assert idle == ["def", *["-"] * 6]


def test_all_together() -> None:
    assert usage_tables.in_use(answer()) == "1 GPU 54% busy 312 W, 48.0 MiB memory, 24.0 MiB disk"
    assert usage_tables.in_use(operator_pb2.GetStatusResponse()) == ""


@pytest.mark.parametrize(
    "table",
    [*usage_tables.leases(answer(1)), usage_tables.services(usage()), usage_tables.gpus(usage())],
    ids=["held", "used", "services", "gpus"],
)
def test_nothing_is_cut_or_folded_on_a_small_terminal(table: Table) -> None:
    assert drawn(table, 80) == drawn(table, 200)
