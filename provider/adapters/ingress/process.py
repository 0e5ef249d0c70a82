"""The proxy's process: started with few rights, started again when it ends, ended with the daemon.

It runs as a user of its own with one capability, to bind low ports; the kernel kills it when the daemon dies
(prctl(2), PR_SET_PDEATHSIG), and one that outlived a daemon all the same is ended before another is started.
Its configuration comes by standard input and its folder as an open directory, so nothing of the daemon's own
files is open to that user.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import select
import shutil
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import structlog

from provider.adapters import processes
from provider.adapters.ingress.settings import Address, IngressSettings, dialable, joined
from provider.domain.errors import ConfigError

log = structlog.get_logger()

WAIT_FIRST_S, WAIT_MOST_S = 0.2, 10.0
"""Between an end and the next start: doubled each time."""
STABLE_S = 60.0
"""A run this long is forgiven its end."""
END_S = 5.0
"""From asking it to end to killing it."""
POLL_S = 0.05
WORDS_MOST = 20
"""Of its last lines, for whoever asks why it ended."""
MARK = "PROVIDER_INGRESS"
"""In its environment: whose it is."""
CAPABILITY = "+net_bind_service"
TRIFLES = frozenset({"debug", "info", "warn"})
"""Levels of Caddy's log that say nothing to an operator: that it has no admin endpoint, for one."""

Configure = Callable[[str], Mapping[str, object]]
"""From the folder, as the process sees it, to its configuration."""


class CaddyProcess:
    """An async context manager: entering starts it and waits until it listens, leaving ends it."""

    def __init__(self, settings: IngressSettings, configure: Configure) -> None:
        self._settings = settings
        self._configure = configure
        self._said: deque[str] = deque(maxlen=WORDS_MOST)
        self._process: asyncio.subprocess.Process | None = None
        self._listens = asyncio.Event()
        self._ended = asyncio.Event()
        self.starts = 0

    async def __aenter__(self) -> Self:
        self._program = _program(self._settings)
        self._folder = _folder(self._settings)
        try:
            self._configure("/")  # so that what is wrong with it is said now
            end_leftovers(str(self._settings.folder))
            for address in self._addresses():
                _must_be_free(address)
            self._tasks = asyncio.TaskGroup()
            await self._tasks.__aenter__()
        except BaseException:
            os.close(self._folder)
            raise
        self._keeping = self._tasks.create_task(self._keep_running())
        try:
            await self._until_it_listens_or_fails()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _until_it_listens_or_fails(self) -> None:
        """``ConfigError`` when it ended before it listened, or takes too long."""
        async with asyncio.TaskGroup() as group:
            either = [group.create_task(self._listens.wait()), group.create_task(self._ended.wait())]
            await asyncio.wait(either, timeout=self._settings.start_s, return_when=asyncio.FIRST_COMPLETED)
            for wait in either:
                wait.cancel()
        if not self._listens.is_set():
            raise ConfigError(f"the ingress did not start: {self._last_words()}", remedy="provider doctor")

    async def __aexit__(self, *exc: object) -> None:
        self._keeping.cancel()
        await self._tasks.__aexit__(None, None, None)
        os.close(self._folder)

    @property
    def pid(self) -> int | None:
        """Of what runs now."""
        return self._process.pid if self._process else None

    def _addresses(self) -> list[Address]:
        return [self._settings.http, *([self._settings.https] if self._settings.serves_tls else [])]

    async def _keep_running(self) -> None:
        wait_s = WAIT_FIRST_S
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                await self._run_once()
            except (ConfigError, OSError) as failure:
                self._said.append(str(failure))
            self._ended.set()
            if clock() - began > STABLE_S:
                wait_s = WAIT_FIRST_S
            log.warning("ingress_ended", problem=self._last_words(), next_start_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, WAIT_MOST_S)

    async def _run_once(self) -> None:
        """One process, from its start to its end; ended if we are cancelled."""
        configuration = json.dumps(self._configure(f"/proc/self/fd/{self._folder}")).encode()
        process = await asyncio.create_subprocess_exec(
            *_argv(self._settings, self._program),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(self._folder,),
            env=_environment(self._settings, self._folder),
            start_new_session=True,  # Ctrl-C is for the daemon, which ends it itself
        )
        self._process = process
        self.starts += 1
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(process))
                waiting = group.create_task(self._until_it_listens())
                assert process.stdin is not None, "a pipe"
                with suppress(ConnectionError):
                    process.stdin.write(configuration)
                    await process.stdin.drain()
                process.stdin.close()
                await reading
                waiting.cancel()
            await process.wait()
        finally:
            await processes.end(process, END_S)
            self._process = None

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None, "a pipe"
        while line := await _line(process.stderr):
            level, text = _words(line.decode(errors="replace").strip())
            if level in TRIFLES:
                log.debug("ingress_said", text=text)
            elif text:
                self._said.append(text)
                log.warning("ingress_said", text=text)

    async def _until_it_listens(self) -> None:
        """Connections are taken at every address."""
        for address in self._addresses():
            while True:
                try:
                    _, writer = await asyncio.open_connection(*dialable(address))
                except OSError:
                    await asyncio.sleep(POLL_S)
                else:
                    writer.close()
                    break
        self._listens.set()

    def _last_words(self) -> str:
        return self._said[-1] if self._said else "it said nothing"


def _argv(settings: IngressSettings, program: str) -> list[str]:
    limits = ["--pdeathsig", "KILL", "--no-new-privs"]
    if os.geteuid() == 0:
        capability = f"-all,{CAPABILITY}"
        limits += [f"--inh-caps={capability}", f"--ambient-caps={capability}", f"--bounding-set={capability}"]
        if settings.user:
            user = _user(settings.user)
            limits += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return ["setpriv", *limits, program, "run", "--config", "-"]


def _environment(settings: IngressSettings, folder: int) -> dict[str, str]:
    """Nothing of the daemon's own: no proxies, no tokens."""
    home = f"/proc/self/fd/{folder}"
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": home,
        "XDG_DATA_HOME": home,
        "XDG_CONFIG_HOME": home,
        MARK: str(settings.folder),
    }


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(
            f"ingress.user: there is no user {name} here", remedy="use nobody, or make that user"
        ) from None


def _program(settings: IngressSettings) -> str:
    for program in (settings.program, "setpriv"):
        if shutil.which(program) is None:
            package = "util-linux" if program == "setpriv" else "caddy"
            raise ConfigError(
                f"the ingress needs {program}, which is not here",
                remedy=f"apt-get install {package} (docs/operating.md, Host names), or unset ingress.domain",
            )
    return str(Path(shutil.which(settings.program) or settings.program).absolute())


def _folder(settings: IngressSettings) -> int:
    """The proxy's folder, its user's alone; open, because the way to it is not open to that user."""
    try:
        settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if settings.user and os.geteuid() == 0:
            user = _user(settings.user)
            if settings.folder.stat().st_uid != user.pw_uid:  # else that user could have us give it more
                for place in (settings.folder, *settings.folder.rglob("*")):
                    os.lchown(place, user.pw_uid, user.pw_gid)
        return os.open(settings.folder, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(
            f"{settings.folder} cannot be made: {error.strerror}", remedy="choose another state_dir"
        ) from error


def _must_be_free(address: Address) -> None:
    host, _ = address
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigError(
            f"the ingress cannot listen on {joined(address)}: {error.strerror}",
            remedy="stop what listens there (a caddy of the system's own: systemctl disable --now caddy), "
            "or change ingress.http and ingress.https",
        ) from error


def leftovers(folder: str) -> Iterator[int]:
    """Processes of an earlier daemon with the same folder."""
    wanted = f"{MARK}={folder}".encode()
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with suppress(OSError):
                if wanted in (place / "environ").read_bytes().split(b"\0"):
                    yield int(place.name)


def end_leftovers(folder: str) -> None:
    """Kill them, and wait until their ports are free."""
    for pid in leftovers(folder):
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                select.select([handle], [], [], END_S)
            finally:
                os.close(handle)
            log.warning("ingress_leftover_ended", pid=pid)


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line, empty at the end; one that is too long is dropped."""
    while True:
        try:
            return await stream.readline()
        except ValueError:
            continue


def _words(line: str) -> tuple[str, str]:
    """Level and text of a line of Caddy's JSON log; of any other line no level, and all of it."""
    try:
        told = json.loads(line)
    except ValueError:
        return "", line
    if not isinstance(told, dict):
        return "", line
    text = ": ".join(str(told[key]) for key in ("logger", "msg", "error") if key in told)
    return str(told.get("level", "")), text
