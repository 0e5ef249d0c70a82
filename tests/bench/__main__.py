"""``make bench``: figures beside their baselines, of the same run, as a table and in build/bench.json.

Nothing here is asserted: a figure is a figure. ``target`` is the ratio that the project has set itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import (
    bench_bid,
    bench_commits,
    bench_decision,
    bench_idle,
    bench_launch,
    bench_logs,
    bench_neighbour,
    bench_reconcile,
    bench_scrape,
    bench_sdl,
    bench_tunnel,
    bench_usage,
)

Row = dict[str, object]
BENCHES: dict[str, Callable[[], list[Row]]] = {
    "bid": bench_bid.rows,
    "commits": bench_commits.rows,
    "decision": bench_decision.rows,
    "launch": bench_launch.rows,
    "logs": bench_logs.rows,
    "neighbour": bench_neighbour.rows,
    "reconcile": bench_reconcile.rows,
    "scrape": bench_scrape.rows,
    "tunnel": bench_tunnel.rows,
    "sdl": bench_sdl.rows,
    "idle": bench_idle.rows,
    "usage": bench_usage.rows,
}
OUTPUT = Path("build") / "bench.json"


def main(wanted: list[str]) -> int:
    rows: list[Row] = []
    for name, bench in BENCHES.items():
        if not wanted or name in wanted:
            print(f"measuring {name} ...", file=sys.stderr)
            rows += bench()
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=2) + "\n")
    table = Table(box=None, header_style="bold")
    for column in ("FIGURE", "OURS", "BASELINE", "UNIT", "RATIO", "TARGET"):
        table.add_column(column)
    for row in rows:
        table.add_row(*(_text(row[key]) for key in ("name", "ours", "baseline", "unit", "ratio", "target")))
    Console(width=140).print(table)
    return 0


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
