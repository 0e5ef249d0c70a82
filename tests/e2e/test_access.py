"""A tenant's ways into a running lease, by the real commands: logs, events, shell, files, restart.

One lease serves them all: it writes numbered lines, serves a page from a persistent volume, and counts there
how often it was started.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from provider.app.demo.stage import program_argv
from tests.e2e.leftovers import left_of
from tests.e2e.world import World, running, until
from tests.prometheus import fetch

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
COUNT = "echo started >> /data/index.html; httpd -p 8080 -h /data; i=0;"
TICK = "while true; do echo tick $i; i=$((i+1)); sleep 0.02; done"
SDL = """---
version: "2.0"
services:
  web:
    image: {image}
    command: [/bin/sh, -c]
    args: ["{script}"]
    expose: [{{port: 8080, to: [{{global: true}}]}}]
    params: {{storage: {{data: {{mount: /data}}}}}}
profiles:
  compute:
    web:
      resources:
        cpu: {{units: 0.2}}
        memory: {{size: 128Mi}}
        storage: [{{size: 128Mi}}, {{name: data, size: 64Mi, attributes: {{persistent: true}}}}]
  placement:
    anywhere: {{pricing: {{web: {{denom: uact, amount: 100000}}}}}}
deployment:
  web: {{anywhere: {{profile: web, count: 1}}}}
"""


def rent(world: World, image: str, script: str) -> int:
    path = world.folder / "web.yaml"
    path.write_text(SDL.format(image=image, script=script))
    return world.rent(path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, engine: docker.DockerClient) -> Iterator[World]:
    """With ports of its own: its lease is there all the time."""
    folder = tmp_path_factory.mktemp("world")
    made = World(folder=folder, provider_name=f"access-{os.getpid()}", ports="32700-32799")
    with running(made, engine):
        yield made


@pytest.fixture(scope="module")
def dseq(world: World, hello: str, engine: docker.DockerClient) -> Iterator[int]:
    made = rent(world, hello, COUNT + TICK)
    yield made
    assert world.tenant("close", str(made)).status == 0
    until(lambda: left_of(engine, world.provider_name) == set(), "nothing is left")


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Once for all of them, by the fixture above."""


def argv(world: World, *arguments: str) -> list[str]:
    return [*program_argv("tenant"), "--home", str(world.folder / "tenant"), *arguments]


def ticks(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"^tick (\d+)$", text, re.MULTILINE)]


def test_a_followed_log_goes_on_over_a_killed_agent_without_gap_or_double(world: World, dseq: int) -> None:
    out, err = world.folder / "followed.out", world.folder / "followed.err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        follower = subprocess.Popen(argv(world, "logs", str(dseq), "web", "-f"), stdout=stdout, stderr=stderr)
    until(lambda: len(ticks(out.read_text())) > 50, "lines")
    world.kill("provider", signal.SIGKILL)
    until(lambda: "the log is interrupted" in err.read_text(), "the interruption is told")
    before = len(ticks(out.read_text()))
    world.start_provider()
    until(lambda: len(ticks(out.read_text())) > before + 50, "lines after it")
    follower.send_signal(signal.SIGINT)
    assert follower.wait(20) == 130
    seen = ticks(out.read_text())
    assert seen == list(range(len(seen)))
    assert "the log goes on" in err.read_text()


def test_a_log_is_told_as_docker_tells_it(world: World, dseq: int) -> None:
    until(lambda: len(ticks(world.tenant("logs", str(dseq)).out)) > 20, "lines")
    some = world.tenant("logs", str(dseq), "web/0", "--tail", "5", "-t")
    assert some.status == 0, some.err
    lines = some.out.splitlines()
    assert len(lines) == 5
    stamps = [line.split(" ", 1)[0] for line in lines]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", stamp) for stamp in stamps)
    assert stamps == sorted(set(stamps))
    after = world.tenant("logs", str(dseq), "--since", stamps[2][:26] + "Z").out
    first = int(lines[2].split()[-1])
    assert ticks(after)[:2] in ([first, first + 1], [first + 1, first + 2])  # micros are cut off
    assert world.tenant("logs", str(dseq), "--since", "1h").out.startswith("tick 0\n")
    assert world.tenant("logs", str(dseq), "nosuch").status == 1
    assert world.tenant("logs", str(dseq), "--since", "soon").status == 2


def test_a_tree_with_links_and_modes_and_a_large_file_comes_back_as_it_went(
    world: World, dseq: int, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "deep" / "er" / "script").write_text("#!/bin/sh\n")
    (tree / "deep" / "er" / "script").chmod(0o755)
    (tree / "group").write_text("writable")
    (tree / "group").chmod(0o664)
    (tree / "link").symlink_to("deep/er/script")
    (tree / "large").write_bytes(os.urandom(50 << 20))
    digest = hashlib.sha256((tree / "large").read_bytes()).hexdigest()

    into = world.tenant("cp", str(tree), f"{dseq}/web:/tmp")
    assert into.status == 0, into.err
    told = world.tenant("exec", str(dseq), "web", "--", "sha256sum", "/tmp/tree/large")
    assert told.out.split()[0] == digest
    assert world.tenant("cp", f"{dseq}/web/0:/tmp/tree", str(tmp_path / "back")).status == 0

    back = tmp_path / "back"
    assert hashlib.sha256((back / "large").read_bytes()).hexdigest() == digest
    assert (back / "link").readlink() == Path("deep/er/script")
    assert [(back / name).stat().st_mode & 0o777 for name in ("group", "deep/er/script")] == [0o664, 0o755]


def test_copies_land_where_docker_would_put_them(world: World, dseq: int, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    at = f"{dseq}/web:/tmp"
    assert world.tenant("cp", str(tmp_path / "one"), f"{at}/two").status == 0  # renamed
    assert world.tenant("cp", f"{at}/two", str(tmp_path)).status == 0  # into a folder
    assert (tmp_path / "two").read_text() == "1"
    stream = subprocess.run(argv(world, "cp", f"{at}/two", "-"), capture_output=True, check=True).stdout
    assert b"two" in stream[:100]
    subprocess.run(argv(world, "cp", "-", f"{dseq}/web:/srv"), input=stream, capture_output=True, check=False)
    nowhere = world.tenant("cp", str(tmp_path / "one"), f"{dseq}/web:/no/such/folder/one")
    assert nowhere.status == 1
    assert "there is no such file or folder" in nowhere.err
    assert world.tenant("cp", f"{at}/none", str(tmp_path)).status == 1
    assert world.tenant("cp", "a", "b").status == 2


def test_a_device_that_is_copied_in_cannot_be_opened(world: World, dseq: int, tmp_path: Path) -> None:
    """The engine makes it, past the capability that a tenant does not have; its device rules still hold."""
    import io
    import tarfile

    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("memory")
        member.type, member.devmajor, member.devminor, member.mode = tarfile.CHRTYPE, 1, 1, 0o666
        archive.addfile(member)
    sent = subprocess.run(
        argv(world, "cp", "-", f"{dseq}/web:/tmp"), input=made.getvalue(), capture_output=True, check=False
    )
    assert sent.returncode == 0, sent.stderr
    read = world.tenant("exec", str(dseq), "web", "--", "dd", "if=/tmp/memory", "bs=1", "count=1")
    assert (read.status, "not permitted" in read.err) == (1, True)


class Shell:
    """``tenant exec -it`` on a terminal of its own."""

    def __init__(self, world: World, *arguments: str) -> None:
        self.output = b""
        self.child, self.master = pty.fork()
        if self.child == 0:  # no test runs on in here
            os.execv(argv(world)[0], argv(world, "exec", "-it", *arguments))  # noqa: S606 - our own program
        self.resize(31, 101)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, what: bytes) -> None:
        deadline = time.monotonic() + 30
        while what not in self.output:
            assert time.monotonic() < deadline, self.output
            self.output += os.read(self.master, 4096)

    def type(self, text: bytes) -> None:
        self.output = b""
        os.write(self.master, text)

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


def test_a_shell_has_a_terminal_with_its_size_and_gives_its_status(world: World, dseq: int) -> None:
    shell = Shell(world, str(dseq), "web", "--", "sh", "-c", "read x; stty size; echo [$x]; exec sh")
    shell.type(b"hello\r")
    shell.until(b"[hello]")
    shell.resize(44, 122)
    shell.type(b"until stty size | grep -q '44 122'; do sleep 0.1; done; echo re''sized\r")
    shell.until(b"resized")
    shell.type(b"exit 42\r")
    assert shell.status() == 42


def test_what_a_command_comes_to_is_told_as_docker_does(world: World, dseq: int) -> None:
    web = ("exec", str(dseq), "web", "--")
    assert world.tenant(*web, "sh", "-c", "exit 9").status == 9
    assert world.tenant(*web, "no-such-command").status in {126, 127}
    assert world.tenant("exec", str(dseq), "nosuch", "--", "true").status == 125
    assert world.tenant(*web, "cat", stdin="not passed on").out == ""
    assert world.tenant("exec", "-i", *web[1:], "cat", stdin="passed on").out == "passed on"


def test_a_killed_client_takes_its_command_along(world: World, dseq: int) -> None:
    def running() -> bool:
        listed = world.tenant("exec", str(dseq), "web", "--", "ps", "-o", "args").out
        return "sleep 47114711" in listed

    client = subprocess.Popen(argv(world, "exec", str(dseq), "web", "--", "sleep", "47114711"))
    until(running, "the command runs")
    client.kill()
    client.wait(10)
    until(lambda: not running(), "the command is gone")


def test_a_restart_keeps_the_volume_and_the_port(world: World, dseq: int) -> None:
    port = world.host_port(dseq)

    def page() -> str:
        return fetch(f"http://127.0.0.1:{port}/").decode()

    before = page().count("started")
    assert world.tenant("restart", str(dseq), "nosuch").status == 1
    again = world.tenant("restart", str(dseq), "web")
    assert again.status == 0, again.err + world.log("provider")
    assert again.out == "web was restarted\n"
    assert page().count("started") == before + 1
    assert world.host_port(dseq) == port
    shown = world.tenant("status", str(dseq)).out
    assert re.search(r"web +\S+ +1/1 ", shown), shown
    assert "tick 0" in world.tenant("logs", str(dseq), "web").out  # of its first life too


def test_events_tell_why_a_service_keeps_ending_and_its_log_outlives_the_lease(
    world: World, dseq: int, hello: str
) -> None:
    crashing = rent(world, hello, "echo once more; sleep 1; exit 3")

    def told() -> str:
        events = world.tenant("events", str(crashing))
        assert events.status == 0, events.err
        return events.out

    until(lambda: told().count(" exited ") > 1, "it ended twice")
    assert world.tenant("close", str(crashing)).status == 0
    until(lambda: " closed " in told(), "the end")
    everything = world.tenant("events", str(crashing), "-f").out  # and it ends
    kinds = [line.split()[2] for line in everything.splitlines()]
    assert kinds[:3] == ["awarded", "starting", "running"]
    assert kinds[-2:] == ["stopping", "closed"]
    assert re.search(r"Warning +exited +web/0 +.*3", everything), everything
    assert "tenant closed" in everything.splitlines()[-1]
    assert world.tenant("logs", str(crashing)).out.count("once more") > 1
    assert world.tenant("logs", "--tail", "1", str(crashing), "web/0").out == "once more\n"
