"""Bad input and faults, from outside: a line of what, one of what to try, the right status, nothing lost."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from provider.rpc.join import decode, encode
from tests.e2e.leftovers import left_of
from tests.e2e.world import ROOT, Outcome, World, until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]
HELLO = ROOT / "manifests" / "hello-gpu.yaml"


def said(outcome: Outcome, status: int, what: str) -> str:
    """Checks the form of a failure, and returns its remedy."""
    assert outcome.status == status, outcome.out + outcome.err
    lines = outcome.err.strip().splitlines()
    assert re.search(what, lines[0]), outcome.err
    assert lines[-1].startswith("  Try: "), outcome.err
    assert "Traceback" not in outcome.err
    return lines[-1].removeprefix("  Try: ")


@pytest.fixture
def bare(tmp_path: Path) -> World:
    """A machine on which nothing is set up yet."""
    return World(folder=tmp_path, provider_name="bare")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody else listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


# --- before anything runs


def test_no_configuration(bare: World) -> None:
    assert said(bare.provider("run"), 2, "provider.yaml cannot be read") == "provider init, or --config FILE"


def test_a_misspelt_setting(bare: World) -> None:
    (bare.folder / "provider.yaml").write_text("pricng: {}\nlease: {lissten: 1}\n")
    outcome = bare.provider("run")
    said(outcome, 2, "has 2 problems")
    assert "pricng: no such setting: did you mean pricing?" in outcome.err
    assert "lease.lissten: no such setting: did you mean listen?" in outcome.err


def test_not_enrolled(bare: World) -> None:
    assert bare.provider("init", "--state-dir", str(bare.folder / "state")).status == 0
    assert "coordinator invite" in said(bare.provider("run"), 2, "belongs to no market yet")


def test_no_daemon(bare: World) -> None:
    assert bare.provider("init", "--state-dir", str(bare.folder / "state")).status == 0
    said(bare.provider("status"), 2, "nothing listens at .*operator.sock")
    said(bare.coordinator("status"), 2, "nothing listens at .*coordinator.sock")


def test_a_coordinators_port_is_taken(bare: World, taken: int) -> None:
    outcome = bare.coordinator("run", "--listen", f"127.0.0.1:{taken}", "--enrolment-listen", "127.0.0.1:0")
    said(outcome, 2, f"cannot listen at 127.0.0.1:{taken}")


# --- in a market that runs


def test_tokens_that_cannot_be(world: World) -> None:
    token = world.coordinator("invite", "tenant", "bob").out.strip().splitlines()[-1]
    home = ["--home", str(world.folder / "bob")]

    said(world.tenant(*home, "enroll", token[:-9]), 2, "cut off or altered")
    said(world.provider("enroll", token), 2, "this token is for a tenant, not for a provider")
    assert world.tenant(*home, "enroll", token).status == 0
    said(world.tenant("--home", str(world.folder / "thief"), "enroll", token), 2, "used|already|token")


def test_a_coordinator_that_is_not_there(world: World, taken: int) -> None:
    token = decode(world.coordinator("invite", "tenant", "carol").out.strip().splitlines()[-1])
    away = encode(replace(token, enrolment_address="127.0.0.1:1"))
    said(
        world.tenant("--home", str(world.folder / "carol"), "enroll", away), 2, "127.0.0.1:1 does not answer"
    )
    # Somebody else's TLS, or none at all: never trusted.
    wrong = encode(replace(token, enrolment_address=f"127.0.0.1:{world.market_port}"))
    said(world.tenant("--home", str(world.folder / "carol"), "enroll", wrong), 2, "does not answer")


def test_a_second_daemon_on_the_same_state(world: World) -> None:
    said(world.provider("run"), 2, "another provider runs on .*process")
    said(world.coordinator("run", "--listen", "127.0.0.1:0"), 2, "another coordinator runs on .*process")


def test_an_order_that_fits_nowhere_gets_no_bid_and_the_reason_is_logged(world: World) -> None:
    text = HELLO.read_text().replace("units: 1\n", "units: 24\n")
    (world.folder / "big.yaml").write_text(text)
    dseq = world.deploy(world.folder / "big.yaml")
    assert (
        said(world.tenant("bids", str(dseq), "--wait", "1"), 1, "no bid within 1 s")
        == f"tenant status {dseq}"
    )
    reason = until(
        lambda: re.search(rf'"order": "alice/{dseq}/1/1", "reason": "([^"]+)"', world.log("provider")),
        "a reason",
    )
    assert reason[1] == "gpu unknown (required 24 of vendor/nvidia/model/*, available h100)"
    assert world.tenant("close", str(dseq)).status == 0


def test_an_engine_that_is_not_fit_is_not_bid_with(world: World) -> None:
    """Every engine lacks this sandbox; one with known holes is refused in the same way."""
    world.kill("provider", signal.SIGTERM)
    world.provider_environment["PROVIDER_RUNTIME__SANDBOX"] = "no-such-sandbox"
    try:
        world.start_provider()
        dseq = world.deploy(HELLO)
        reason = until(
            lambda: re.search(rf'"order": "alice/{dseq}/1/1", "reason": "([^"]+)"', world.log("provider")),
            "a reason",
        )
        assert reason[1].startswith("runtime unfit (required sandbox no-such-sandbox (runtime.sandbox")
        assert '"event": "engine_unfit"' in world.log("provider")
        doctor = world.provider("doctor", "--json")
        assert doctor.status == 3
        (sandbox,) = (each for each in doctor.json if each["check"] == "sandbox")
        assert sandbox["is_fatal"]
        assert "runtime.sandbox" in sandbox["remedy"]
        assert world.tenant("close", str(dseq)).status == 0
    finally:
        del world.provider_environment["PROVIDER_RUNTIME__SANDBOX"]
        world.kill("provider", signal.SIGTERM)
        world.start_provider()


def test_more_than_the_account_holds(world: World) -> None:
    outcome = world.tenant("deploy", str(HELLO), "--deposit", "999999999999uact")
    said(outcome, 1, "(?i)short|insufficient|balance|funds|has")


def test_an_invalid_manifest_names_its_lines(world: World) -> None:
    text = HELLO.read_text().replace("image:", "imaeg:")
    (world.folder / "bad.yaml").write_text(text)
    line = next(number for number, each in enumerate(text.splitlines(), start=1) if "imaeg" in each)
    outcome = world.tenant("deploy", str(world.folder / "bad.yaml"))
    said(outcome, 2, "bad.yaml is not a valid manifest")
    assert f"bad.yaml:{line}:5: error: services.hello.imaeg" in outcome.err
    assert "image" in outcome.err


def test_an_image_that_does_not_exist_ends_the_lease_with_its_reason(
    world: World, hello: str, engine: docker.DockerClient
) -> None:
    missing = hello.replace("hello-gpu:1", "no-such-image:7")
    dseq = world.deploy(HELLO, "--image", f"hello={missing}")
    assert world.tenant("bids", str(dseq), "--wait", "20").status == 0
    said(world.tenant("accept", str(dseq), "--wait", "60"), 1, "ended: image unavailable")
    lease = until(lambda: closed(world, dseq), "the lease is settled")
    assert lease["reason"] == "CLOSE_REASON_IMAGE_UNAVAILABLE"
    assert lease["running_ms"] == "0"
    until(lambda: not left_of(engine, world.provider_name), "nothing is left")


def test_a_container_that_exits_at_once_is_tried_again_and_then_given_up(
    world: World, hello: str, engine: docker.DockerClient
) -> None:
    text = HELLO.read_text().replace("    expose:", '    command: ["/bin/sh", "-c", "exit 3"]\n    expose:')
    (world.folder / "exits.yaml").write_text(text)
    dseq = world.deploy(world.folder / "exits.yaml", "--image", f"hello={hello}")
    assert world.tenant("bids", str(dseq), "--wait", "20").status == 0
    world.tenant("accept", str(dseq), "--wait", "5")
    lease = until(lambda: closed(world, dseq), "the lease is given up", patience_s=90)
    assert lease["reason"] == "CLOSE_REASON_WORKLOAD_UNSTABLE"
    assert "exited with status 3" in lease["detail"]
    until(lambda: not left_of(engine, world.provider_name), "nothing is left")


def closed(world: World, dseq: int) -> dict[str, str] | None:
    lease: dict[str, str] = world.lease(dseq)
    return lease if lease["state"] == "LEASE_STATE_CLOSED" else None
