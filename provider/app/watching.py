"""Something shown as long as one looks: drawn in place on a terminal, or a line of JSON each time."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from rich.console import RenderableType
from rich.live import Live

from provider.app import render
from provider.domain.errors import ConfigError

T = TypeVar("T")


def check_terminal(*, is_json: bool) -> None:
    """``ConfigError`` where there is nothing to draw on."""
    if not is_json and not sys.stdout.isatty():
        raise ConfigError("--watch draws on a terminal, and there is none", remedy="add --json: a line each")


async def drawn(told: AsyncIterator[T], draw: Callable[[T], RenderableType]) -> None:
    """In place, until ``told`` ends or Ctrl-C."""
    with Live(console=render.console(), auto_refresh=False) as live:
        async for each in told:
            live.update(draw(each), refresh=True)


async def printed(told: AsyncIterator[T], plain: Callable[[T], object]) -> None:
    """One JSON value a line."""
    async for each in told:
        print(json.dumps(plain(each)), flush=True)
