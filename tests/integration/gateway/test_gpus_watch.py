"""``provider gpus --watch`` on a terminal: drawn in place, again and again, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from provider.app.cli.entry import INTERRUPTED
from provider.app.cli.provider import main
from tests.integration.gateway.test_operator_gpus import FIRST, daemon, two_cards

COMMAND = """
import os, sys
os.login_tty(int(sys.argv[1]))  # that Ctrl-C is for it, as in a shell
from provider.app.cli import gpu_commands
from provider.app.cli.provider import main
gpu_commands.LOOK_EVERY_S = 0.2  # sooner than people would want it
sys.exit(main(sys.argv[2:]))
"""
ROWS, COLUMNS = 40, 160
_PIECES = re.compile(r"\x1b\[\??([0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """As much of a terminal as is drawn on: text, line ends, up, erase, colours, the cursor shown or not."""

    def __init__(self) -> None:
        self.lines = [""] * ROWS
        self.has_cursor = True
        self._row = self._column = 0

    def take(self, output: str) -> None:
        for number, code, end, text in _PIECES.findall(output):
            if text:
                line = self.lines[self._row].ljust(self._column)
                after = self._column + len(text)
                self.lines[self._row] = line[: self._column] + text + line[after:]
                self._column = after
            elif end == "\n":
                self._row += 1
            elif end == "\r":
                self._column = 0
            else:
                self._control(number, code)

    def _control(self, number: str, code: str) -> None:
        match code:
            case "A":
                self._row -= int(number or 1)
            case "K":
                assert number == "2", f"CSI {number} K"
                self.lines[self._row] = ""
            case "h" | "l":
                assert number == "25", f"CSI ?{number} {code}"
                self.has_cursor = code == "h"
            case _:
                assert code == "m", f"CSI {number} {code}"

    @property
    def shown(self) -> list[str]:
        return [line.rstrip() for line in self.lines if line.strip()]


class Terminal:
    """A pseudo terminal, from the side of who sits before it."""

    def __init__(self, master: int) -> None:
        self.screen = Screen()
        self._master = master
        self._changed = asyncio.Event()
        os.set_blocking(master, False)
        asyncio.get_running_loop().add_reader(master, self._read)

    def _read(self) -> None:
        try:
            self.screen.take(os.read(self._master, 1 << 20).decode())
        except OSError:  # the other side is closed
            asyncio.get_running_loop().remove_reader(self._master)
        self._changed.set()

    async def until(self, condition: Callable[[list[str]], object]) -> list[str]:
        async with asyncio.timeout(30):
            while not condition(self.screen.shown):
                self._changed.clear()
                await self._changed.wait()
        return self.screen.shown

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)


@asynccontextmanager
async def terminal(*arguments: str) -> AsyncIterator[tuple[Terminal, asyncio.subprocess.Process]]:
    """With ``provider ARGUMENTS`` on it."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (ROWS, COLUMNS))
    before = Terminal(master)
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", COMMAND, str(slave), *arguments), pass_fds=(slave,)
        )
        os.close(slave)
        try:
            yield before, process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    finally:
        asyncio.get_running_loop().remove_reader(master)
        os.close(master)


def test_cards_are_drawn_in_place_as_they_change(tmp_path: Path) -> None:
    config = ("--config", str(tmp_path / "provider.yaml"))

    async def body() -> None:
        async with daemon(tmp_path, two_cards()), terminal(*config, "gpus", "--watch") as (seen, process):
            healthy = await seen.until(lambda lines: len(lines) == 4)
            assert healthy[0].split()[:5] == ["#", "GPU", "MODEL", "MEMORY", "HEALTH"]
            assert all("● healthy" in line for line in healthy[1:])
            assert await asyncio.to_thread(main, [*config, "gpus", "cordon", "0", "--why", "its fan"]) == 0
            sick = await seen.until(lambda lines: len(lines) > 4 and "● degraded" in lines[1])
            assert [line.split() for line in sick[2:4]] == [line.split() for line in healthy[2:]]
            assert f"{FIRST[:12]} is degraded: cordoned: its fan" in sick[4]
            assert await asyncio.to_thread(main, [*config, "gpus", "uncordon", "0"]) == 0
            await seen.until(lambda lines: lines == healthy)  # and nothing is left of what was said
            assert not seen.screen.has_cursor
            seen.press(b"\x03")
            assert await asyncio.wait_for(process.wait(), 10) == INTERRUPTED
            await seen.until(lambda _: seen.screen.has_cursor)
            assert [line for line in seen.screen.shown if "^C" not in line] == healthy

    asyncio.run(body())
