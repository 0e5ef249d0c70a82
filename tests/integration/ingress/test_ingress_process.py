"""The proxy's process and its certificates: started with few rights, kept, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from provider.adapters.ingress.process import leftovers
from provider.adapters.ingress.settings import Tls
from provider.app.demo.stage import free_port
from provider.domain.errors import ConfigError
from tests.integration.ingress.world import PATIENCE_S, World, open_folder, run, serving
from tests.named import DOMAIN, Port

SHOP = "shop.example.org"
DAEMON = """
import asyncio, sys
from tests.integration.ingress.world import Engine
from pathlib import Path
from provider.adapters.clock import SystemClock
from provider.adapters.ingress.ingress import Ingress
from provider.adapters.ingress.settings import IngressSettings
from tests.named import state

async def main():
    program, folder, http = sys.argv[1:]
    address = ("127.0.0.1", int(http))
    settings = IngressSettings(http=address, https=address, program=program, folder=Path(folder))
    async with Ingress(settings, state, Engine(), SystemClock()) as ingress:
        print(ingress.process.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:g} s"
        time.sleep(0.02)


def status(pid: int) -> dict[str, str]:
    pairs = (line.partition(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: text.strip() for name, _, text in pairs}


def is_there(pid: int) -> bool:
    try:
        return status(pid)["State"][0] != "Z"
    except OSError:
        return False


def test_it_runs_as_nobody_with_one_capability() -> None:
    async def check(world: World) -> None:
        pid = world.ingress.process.pid
        assert pid is not None
        told = status(pid)
        assert set(told["Uid"].split()) == {"65534"}
        assert told["NoNewPrivs"] == "1"
        for which in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
            assert int(told[which], 16) == 1 << 10, "CAP_NET_BIND_SERVICE and no other"
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"PROXY" not in environment.upper()

    if os.geteuid() != 0:
        pytest.skip("only root can give rights away")
    run(check)


def test_killed_it_comes_back() -> None:
    async def check(world: World) -> None:
        service = await world.service("one")
        await world.lease(1, service, port=Port(hosts=(SHOP,)))
        first = world.ingress.process.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await asyncio.to_thread(
            until, lambda: world.ingress.process.pid not in {None, first}, "another process"
        )
        assert world.ingress.process.starts == 2
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    assert (await world.get(SHOP)).text == "one 0"
                except ConnectionError:
                    continue
                break

    run(check)


def test_left_in_order_nothing_is_left() -> None:
    async def check() -> tuple[int | None, str]:
        async with serving() as world:
            folder = str(world.settings.folder)
            assert list(leftovers(folder)) == [world.ingress.process.pid]
            return world.ingress.process.pid, folder

    pid, folder = asyncio.run(check())
    assert pid is not None
    assert not is_there(pid)
    assert list(leftovers(folder)) == []


def test_a_daemon_that_is_killed_takes_it_along() -> None:
    with open_folder() as folder:
        argv = [str(folder / "caddy"), str(folder / "state"), str(free_port())]
        with subprocess.Popen(
            [sys.executable, "-c", DAEMON, *argv], stdout=subprocess.PIPE, text=True
        ) as daemon:
            assert daemon.stdout is not None
            try:
                said = next(line for line in daemon.stdout if line.strip().isdigit())
                pid = int(said)
                assert is_there(pid)
            finally:
                daemon.kill()
        until(lambda: not is_there(pid), "the proxy has ended")


def test_one_that_outlived_its_daemon_is_ended_first() -> None:
    async def start(folder: Path) -> None:
        async with serving(folder=folder):
            pass

    with open_folder() as folder:
        state = folder / "state"
        sleep = ["sleep", "600"]
        stray = subprocess.Popen(sleep, env={**os.environ, "PROVIDER_INGRESS": str(state)})
        other = subprocess.Popen(sleep, env={**os.environ, "PROVIDER_INGRESS": f"{state}x"})
        try:
            asyncio.run(start(state))
            assert stray.wait(PATIENCE_S) == -signal.SIGKILL
            assert other.poll() is None
        finally:
            for each in (stray, other):
                each.kill()
                each.wait()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        with pytest.raises(
            ConfigError, match=rf"cannot listen on 127.0.0.1:{address[1]}: Address already in use"
        ):
            run(_nothing, http=address)


def test_a_program_that_is_not_here_is_named() -> None:
    with pytest.raises(ConfigError, match="needs no-such-caddy, which is not here") as raised:
        run(_nothing, program="no-such-caddy")
    assert raised.value.remedy is not None
    assert "apt-get install caddy" in raised.value.remedy


def test_a_program_that_is_no_proxy_is_said_at_once() -> None:
    with pytest.raises(ConfigError, match="the ingress did not start"):
        run(_nothing, program="false")


def test_a_user_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="there is no user no-such-user here"):
        run(_nothing, user="no-such-user")


async def _nothing(_world: World) -> None:
    pytest.fail("it started")


# --- certificates


def test_certificates_are_made_for_known_names_only() -> None:
    async def check(world: World) -> None:
        service = await world.service("one")
        lease = await world.lease(1, service, port=Port(hosts=(SHOP,)))
        authority = world.settings.folder / "pki/authorities/local/root.crt"
        own = f"{lease.id.key}.{DOMAIN}"
        assert (await world.get(own, trust=authority)).text == "one 0"
        assert (await world.get(SHOP, trust=authority)).text == "one 0"
        assert service.heard[-1].headers["x-forwarded-proto"] == "https"
        for unknown in ("nobody.example.org", f"x.{DOMAIN}"):
            with pytest.raises(ssl.SSLError):
                await world.get(unknown, trust=authority)
        made = {each.name for each in (world.settings.folder / "certificates/local").iterdir()}
        assert made == {own, SHOP}
        moved = await world.get(SHOP, "/a?b=c")
        assert moved.status == 308
        assert moved.headers["location"] == f"https://{SHOP}:{world.settings.https[1]}/a?b=c"
        assert (await world.get("nobody.example.org")).status == 404

    run(check, Tls.INTERNAL)


def test_its_authority_is_trusted_by_nobody_who_was_not_told() -> None:
    """Caddy's own default would put it among the machine's."""

    async def check(world: World) -> None:
        service = await world.service("one")
        await world.lease(1, service, port=Port(hosts=(SHOP,)))
        authority = (world.settings.folder / "pki/authorities/local/root.crt").read_text().strip()
        assert (await world.get(SHOP, trust=world.settings.folder / "pki/authorities/local/root.crt")).status
        for place in (ssl.get_default_verify_paths().cafile, "/etc/ssl/certs/ca-certificates.crt"):
            if place and Path(place).exists():
                assert authority not in Path(place).read_text()

    run(check, Tls.INTERNAL)


def wildcard(folder: Path) -> tuple[Path, Path]:
    """A certificate for the domain's names that signs itself, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)  # noqa: TID251 - its own life
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wildcard")])
    made = (
        x509.CertificateBuilder(
            name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"*.{DOMAIN}")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return chain, secret


def test_an_operators_own_certificate_is_served(tmp_path: Path) -> None:
    chain, key = wildcard(tmp_path)

    async def check(world: World) -> None:
        service = await world.service("one")
        lease = await world.lease(1, service, port=Port(hosts=(SHOP,)))
        assert (await world.get(f"{lease.id.key}.{DOMAIN}", trust=chain)).text == "one 0"
        with pytest.raises(ssl.SSLError):
            await world.get(SHOP, trust=chain)
        assert (await world.get(SHOP)).text == "one 0", "without a way to certificates HTTP stays open"

    run(check, certificate=chain, key=key)


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"chain\.pem cannot be read"):
        run(_nothing, certificate=tmp_path / "chain.pem", key=tmp_path / "key.pem")
