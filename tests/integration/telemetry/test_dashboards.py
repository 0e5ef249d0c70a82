"""The shipped dashboards against a real Prometheus that scrapes a simulated host; the rules by promtool."""

from __future__ import annotations

import asyncio
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from provider.rpc.http_message import HEAD_MOST_BYTES
from tests.monitored import ALERTS, ALERTS_TEST, Expression, shown
from tests.prometheus import Prometheus, program, prometheus

GROWING = re.compile(rb"^(\w+_(?:total|bucket|count|sum)(?:\{.*\})?) (\S+)$", re.MULTILINE)
OURS = Path(sys.executable).with_name("provider")
A_SCRAPE = 0.01
"""By how much of themselves counters grow between two scrapes."""


def grown(exposition: bytes, scrapes: int) -> bytes:
    """As it would be so many scrapes later: all counters have moved."""
    factor = 1 + A_SCRAPE * scrapes

    def grow(line: re.Match[bytes]) -> bytes:
        return line[1] + b" %.17g" % (float(line[2]) * factor)

    return GROWING.sub(grow, exposition)


class Busy:
    """Serves what ``provider metrics --simulated`` printed, a little further on at each scrape."""

    def __init__(self, exposition: bytes) -> None:
        self._exposition = exposition
        self._scrapes = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = grown(self._exposition, self._scrapes)
        self._scrapes += 1
        head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()
        writer.close()


def filled_in(expression: Expression) -> str:
    """As Grafana would send it."""
    text = expression.text.replace("$__rate_interval", "20s")
    return re.sub(r'"\$\w+"', '".+"', text)


def empty(scraper: Prometheus, expressions: list[Expression]) -> list[str]:
    """Those that give nothing, or no figure."""
    found = []
    for expression in expressions:
        answers = scraper.query(filled_in(expression))
        if not any(math.isfinite(value) for _, value in answers):
            found.append(f"{expression.where}: {expression.text}")
    return found


@pytest.mark.timeout(120)
def test_every_panel_shows_something(tmp_path: Path) -> None:
    printed = subprocess.run(
        [str(OURS), "metrics", "--simulated"], capture_output=True, check=True, timeout=60
    )

    async def body() -> None:
        busy = Busy(printed.stdout)
        async with await asyncio.start_server(busy.answer, "127.0.0.1", 0, limit=HEAD_MOST_BYTES) as server:
            host, port = server.sockets[0].getsockname()
            with prometheus(tmp_path, f"{host}:{port}") as scraper:
                await scraper.until("increase(provider_gpu_energy_joules_total[20s]) > 0")
                await scraper.until("count_over_time(provider_build_info[20s]) > 4")
                assert await asyncio.to_thread(empty, scraper, shown()) == []

    asyncio.run(body())


@pytest.mark.parametrize(("doing", "file"), [("check", ALERTS), ("test", ALERTS_TEST)])
def test_promtool_is_content_with_the_rules(doing: str, file: Path) -> None:
    argv = [program("promtool"), doing, "rules", str(file)]
    checked = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "SUCCESS" in checked.stdout
