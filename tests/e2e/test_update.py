"""A lease whose manifest changes while it runs; one that its provider takes back; a provider that drains.

Each lease here is a web server that adds what it was told to greet with to a page on a persistent volume.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import docker
import pytest

from provider.app.demo.stage import program_argv
from tests.e2e.leftovers import containers_of
from tests.e2e.world import Outcome, World, until
from tests.prometheus import fetch

pytestmark = [pytest.mark.docker, pytest.mark.timeout(240)]
SERVE = "echo $GREETING >> /data/index.html; exec httpd -f -p 8080 -h /data"
SDL = """---
version: "2.0"
services:
  web:
    image: {image}
    command: [/bin/sh, -c]
    args: ["{script}"]
    env: ["GREETING={greeting}"]
    expose: [{{port: 8080, to: [{{global: true}}]}}]
    params: {{storage: {{data: {{mount: /data}}}}}}
profiles:
  compute:
    web:
      resources:
        cpu: {{units: {cpu}}}
        memory: {{size: 64Mi}}
        storage: [{{size: 64Mi}}, {{name: data, size: 64Mi, attributes: {{persistent: true}}}}]
  placement:
    anywhere: {{pricing: {{web: {{denom: uact, amount: 100000}}}}}}
deployment:
  web: {{anywhere: {{profile: web, count: 1}}}}
"""


def write(world: World, image: str, greeting: str, script: str = SERVE, cpu: str = "0.1") -> Path:
    path = world.folder / "web.yaml"
    path.write_text(SDL.format(image=image, greeting=greeting, script=script, cpu=cpu))
    return path


def page(port: int) -> str | None:
    try:
        return fetch(f"http://127.0.0.1:{port}/").decode()
    except OSError:
        return None


def greets(port: int, *greetings: str) -> None:
    """The page is what all of these wrote, one after the other."""
    expected = "".join(f"{each}\n" for each in greetings)
    until(lambda: page(port) == expected, f"the page says {greetings}")


def serves(port: int, newest: str) -> None:
    """What wrote last is ``newest``, on the data that the first one left."""

    def is_so() -> bool:
        said = (page(port) or "").splitlines()
        return said[:1] == ["one"] and said[-1:] == [newest]

    until(is_so, f"the page goes from one to {newest}")


def ordered(world: World, dseq: int) -> str:
    return str(world.tenant("status", str(dseq), "--json").json["manifest_hash"])


def update(world: World, dseq: int, file: Path) -> Outcome:
    return world.tenant("update", str(dseq), str(file))


def begin_update(world: World, dseq: int, file: Path) -> subprocess.Popen[str]:
    """`tenant update`, under way."""
    argv = [*program_argv("tenant"), "--home", str(world.folder / "tenant"), "update", str(dseq), str(file)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)


def end(world: World, dseq: int) -> None:
    closed = world.tenant("close", str(dseq))
    assert closed.status == 0, closed.err
    until(lambda: world.provider("leases", "--json").json == [], "the provider has let go")


def test_another_environment_then_notice_and_drain(
    world: World, hello: str, engine: docker.DockerClient
) -> None:
    dseq = world.rent(write(world, hello, "one"))
    before = world.lease(dseq)
    port = int(before["ports"][0]["host_port"])
    greets(port, "one")
    (first,) = containers_of(engine, world.provider_name)

    other_size = update(world, dseq, write(world, hello, "two", cpu="0.2"))
    assert (other_size.status, other_size.out) == (1, "")
    assert "other CPU than ordered (ordered 100m, found 200m)" in other_size.err
    assert f"Try: close and deploy anew: tenant close {dseq}" in other_size.err
    assert containers_of(engine, world.provider_name) == [first]

    updated = update(world, dseq, write(world, hello, "two"))
    assert updated.status == 0, updated.err + world.log("provider")
    assert f"{world.provider_name}: runs it" in updated.out
    greets(port, "one", "two")
    after = world.lease(dseq)
    assert [after[key] for key in ("id", "rate", "ports")] == [before[key] for key in ("id", "rate", "ports")]
    assert containers_of(engine, world.provider_name) != [first]
    until(lambda: int(world.lease(dseq)["running_ms"]) > int(after["running_ms"]), "the bill goes on")

    (lease,) = world.provider("leases", "--json").json
    for wrong in (("nosuch", "--notice", "1s"), (lease["key"], "--notice", "soon")):
        refused = world.provider("close", *wrong)
        assert refused.status == 2
        assert "Try: " in refused.err
    told = world.provider("close", lease["key"], "--notice", "1h", "--why", "a disk is failing")
    assert told.status == 0, told.err
    assert "its tenant is told" in told.out
    drained = world.provider("drain")
    assert (drained.status, drained.out.splitlines()[0]) == (0, "bidding on nothing; 1 lease(s) run on")

    world.kill("provider")
    world.start_provider()
    greets(port, "one", "two")
    seen = world.tenant("status", str(dseq)).out
    assert "a disk is failing" in seen
    assert "The provider ends this lease at " in seen
    assert "Draining" in world.provider("status").out
    waiting = world.deploy(write(world, hello, "waits"))
    assert world.tenant("bids", str(waiting), "--wait", "1").status == 1

    assert world.provider("close", lease["key"], "--notice", "1s", "--why", "it fails").status == 0
    until(lambda: world.lease(dseq)["state"] != "LEASE_STATE_ACTIVE", "the lease ends")
    ended = world.lease(dseq)
    assert (ended["reason"], ended["detail"]) == ("CLOSE_REASON_OPERATOR_CLOSED", "it fails")
    late = update(world, dseq, write(world, hello, "two"))
    assert late.status == 1
    assert "has ended" in late.err

    assert world.provider("drain", "--off").status == 0
    assert world.tenant("bids", str(waiting), "--wait", "20").status == 0
    end(world, waiting)


def test_what_cannot_run_is_taken_back(world: World, hello: str, engine: docker.DockerClient) -> None:
    dseq = world.rent(write(world, hello, "one"))
    port = world.host_port(dseq)
    greets(port, "one")

    nowhere = hello.rpartition(":")[0] + ":no-such-tag"
    before = containers_of(engine, world.provider_name)
    failed = update(world, dseq, write(world, nowhere, "two"))
    assert failed.status == 1, failed.out
    assert "the update was taken back" in failed.err
    assert "no-such-tag" in failed.err
    assert "Try: mend the file and update again" in failed.err
    serves(port, "one")
    assert containers_of(engine, world.provider_name) == before, "what ran was not touched"
    status = world.tenant("status", str(dseq)).out
    assert "the update was taken back" in status
    wanted = world.tenant("hash", str(world.folder / "web.yaml")).out[:12]
    assert f"and {wanted} is ordered" in status

    failed = update(world, dseq, write(world, hello, "two", script="exit 7"))
    assert failed.status == 1, failed.out
    assert "the update was taken back" in failed.err
    serves(port, "one")

    mended = update(world, dseq, write(world, hello, "three"))
    assert mended.status == 0, mended.err
    serves(port, "three")
    assert "taken back" not in world.tenant("status", str(dseq)).out
    end(world, dseq)


def test_the_provider_dies_before_it_has_the_manifest_and_after(
    world: World, hello: str, engine: docker.DockerClient
) -> None:
    dseq = world.rent(write(world, hello, "one"))
    port, before = world.host_port(dseq), ordered(world, dseq)
    world.kill("provider")
    cut_off = begin_update(world, dseq, write(world, hello, "two"))
    until(lambda: ordered(world, dseq) != before, "the market has the update")
    cut_off.kill()
    cut_off.communicate()
    world.start_provider()
    greets(port, "one")
    finished = update(world, dseq, world.folder / "web.yaml")
    assert finished.status == 0, finished.err + world.log("provider")
    greets(port, "one", "two")

    under_way = begin_update(world, dseq, write(world, hello, "three"))
    output = under_way.stdout
    assert output is not None
    until(lambda: "has the manifest" in output.readline(), "the provider has it")
    world.kill("provider")
    world.start_provider()
    out, _ = under_way.communicate(timeout=60)
    assert under_way.returncode == 0, out + world.log("provider")
    assert len(containers_of(engine, world.provider_name)) == 1
    serves(port, "three")
    assert world.host_port(dseq) == port
    end(world, dseq)
