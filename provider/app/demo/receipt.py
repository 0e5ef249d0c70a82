"""What the demo did, for people and as JSON: times of each step, GPUs, money from one balance to another."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from provider.app import render


@dataclass(slots=True, kw_only=True)
class Receipt:
    """Filled in as the story goes. Money in micro-denom, times in milliseconds."""

    engine: str = ""
    gpu_attachment: str = ""
    simulated_gpus: bool = False
    gpus: list[str] = field(default_factory=list)
    """UUIDs of the GPUs that the lease held."""
    lease: str = ""
    image: str = ""
    url: str = ""
    denom: str = "uact"
    price_per_block: str = ""
    price_per_hour: str = ""
    ran_ms: int = 0
    billed_micros: int = 0
    deposit_micros: int = 0
    tenant_before_micros: int = 0
    tenant_after_micros: int = 0
    provider_before_micros: int = 0
    provider_after_micros: int = 0
    left_behind: list[str] = field(default_factory=list)
    """Containers, networks, volumes, images and files that should be gone and are not."""
    steps: dict[str, int] = field(default_factory=dict)
    """Milliseconds of each step, in order."""

    @property
    def total_ms(self) -> int:
        return sum(self.steps.values())

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "total_ms": self.total_ms}, indent=2)


class Show:
    """Says each step while it happens, and what came of it. Silent where only JSON is wanted."""

    def __init__(self, receipt: Receipt, *, quiet: bool) -> None:
        self._receipt = receipt
        self._console = render.console(quiet=quiet)
        self._details: list[str] = []

    def say(self, text: str = "") -> None:
        """A line of its own."""
        self._console.print(text)

    def detail(self, text: str) -> None:
        """Something seen during the step, printed below it."""
        self._details.append(text)

    @contextmanager
    def step(self, name: str, doing: str) -> Iterator[None]:
        """Times the block as ``name``; ``doing`` is shown while it lasts and ticked off at its end."""
        self._details = []
        began = time.monotonic_ns()
        try:
            with self._console.status(doing):
                yield
        except BaseException:
            self._console.print(f"[red]x[/red] {doing}")
            raise
        took_ms = (time.monotonic_ns() - began) // 1_000_000
        self._receipt.steps[name] = took_ms
        self._console.print(f"[green]✓[/green] {doing} [dim]{took_ms} ms[/dim]")
        for line in self._details:
            self._console.print(f"    {line}")

    def receipt(self) -> None:
        """The bill, at the end."""
        made = self._receipt
        kind = " (SIMULATED: no real GPU was used)" if made.simulated_gpus else ""
        rows = [
            ("Lease", made.lease),
            ("GPUs", "\n".join(made.gpus) + kind),
            ("Attached by", made.gpu_attachment),
            ("Price", made.price_per_hour),
            ("Ran", render.duration(made.ran_ms)),
            ("Billed", _money(made.billed_micros, made)),
            (
                "Tenant",
                f"{_money(made.tenant_before_micros, made)} -> {_money(made.tenant_after_micros, made)}",
            ),
            (
                "Provider",
                f"{_money(made.provider_before_micros, made)} -> {_money(made.provider_after_micros, made)}",
            ),
            ("Steps", "\n".join(f"{name:<12} {took:>6} ms" for name, took in made.steps.items())),
            ("In all", f"{made.total_ms / 1000:.1f} s"),
            ("Left behind", "\n".join(made.left_behind) or "nothing"),
        ]
        self._console.print()
        self._console.print("[bold]Receipt[/bold]")
        self._console.print(render.table(("", ""), rows))


def _money(micros: int, receipt: Receipt) -> str:
    return f"{micros / 1_000_000:.6f} {receipt.denom.removeprefix('u').upper()}"
