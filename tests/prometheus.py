"""A real Prometheus of a test's own, Debian's, unpacked by ``scripts/unpack-tools.sh prometheus``."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from provider.app.demo.stage import free_port

UNPACKED = Path(__file__).parents[1] / "build/tools/prometheus/usr/bin"
PATIENCE_S = 30.0

Series = tuple[dict[str, str], float]


def program(name: str) -> str:
    """Unpacked, or installed; the test is skipped where it is neither."""
    unpacked = UNPACKED / name
    found = str(unpacked) if unpacked.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here: run scripts/unpack-tools.sh prometheus")
    return found


def fetch(url: str) -> bytes:
    """A GET on loopback, past any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as response:
        body: bytes = response.read()
        return body


def promtool_complaints(exposition: bytes) -> str:
    """What ``promtool check metrics`` has to say; empty when it is content."""
    argv = [program("promtool"), "check", "metrics"]
    checked = subprocess.run(argv, input=exposition, capture_output=True, check=False, timeout=30)
    said = checked.stdout.decode() + checked.stderr.decode()
    return said or (f"status {checked.returncode}" if checked.returncode else "")


class Prometheus:
    """Its HTTP API."""

    def __init__(self, address: str) -> None:
        self.address = address

    def query(self, expression: str) -> list[Series]:
        """Labels and value of every series that the expression gives."""
        query = urllib.parse.urlencode({"query": expression})
        answer: dict[str, Any] = json.loads(fetch(f"http://{self.address}/api/v1/query?{query}"))
        assert answer["status"] == "success"
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def wait_for(self, expression: str) -> list[Series]:
        """Wait until the expression gives something, at most ``PATIENCE_S``."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                if found := self.query(expression):
                    return found
            except (urllib.error.URLError, ConnectionError):
                pass  # it is still starting
            time.sleep(0.2)
        raise AssertionError(f"{expression}: nothing within {PATIENCE_S:g} s")

    async def until(self, expression: str) -> list[Series]:
        """The same, without keeping the event loop."""
        return await asyncio.to_thread(self.wait_for, expression)


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[Prometheus]:
    """Scrapes ``target`` (host:port) each second, for the length of the block."""
    folder.mkdir(exist_ok=True)
    config, address = folder / "prometheus.yml", f"127.0.0.1:{free_port()}"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: provider, static_configs: [{{targets: ['{target}']}}]}}]\n"
    )
    argv = [
        program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        yield Prometheus(address)
    finally:
        process.terminate()
        process.wait(20)
