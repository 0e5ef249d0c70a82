"""A log line as programs read it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
import structlog

from provider.adapters.clock import SystemClock
from provider.app import logs


def test_a_line_is_json_with_its_time_and_no_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    log = structlog.get_logger()
    log.debug("not_shown")
    log.info("order_matched", order="alice/1/1/1", at=Path("/x"), join_token="secret")
    line = json.loads(capsys.readouterr().out)
    told_s = datetime.fromisoformat(line.pop("timestamp")).timestamp()
    assert abs(told_s - SystemClock().now() / 1000) < 60
    assert line == {
        "event": "order_matched",
        "level": "info",
        "order": "alice/1/1/1",
        "at": "PosixPath('/x')",
        "join_token": "***",
    }


def test_a_time_has_microseconds_also_where_they_begin_with_zeros_or_a_second_ends() -> None:
    times = iter((1_790_000_000_000_001_999, 1_790_000_000_999_999_999, 1_790_000_001_000_000_000))
    stamp = logs.Stamp(lambda: next(times))
    assert [stamp(None, "info", {})["timestamp"] for _ in range(3)] == [
        "2026-09-21T14:13:20.000001Z",
        "2026-09-21T14:13:20.999999Z",
        "2026-09-21T14:13:21.000000Z",
    ]
