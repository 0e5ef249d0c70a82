"""Many clients that dial at once, against a server in a process of its own."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from cryptography import x509

from provider.adapters.clock import SystemClock
from provider.rpc import identity
from provider.rpc.identity import Identity, LiveIdentity, read_certificate
from provider.rpc.member import Role
from provider.rpc.settings import bind, mtls_channel, mtls_server_credentials, server
from provider.sim.authority import ThrowawayAuthority
from provider.sim.proxy import FaultyProxy

AT_ONCE = 16
ROUNDS = 250


def client_context(who: Identity, folder: Path) -> ssl.SSLContext:
    pem = folder / "client.pem"
    pem.write_text(who.key.reveal() + who.certificate_pem)
    context = ssl.create_default_context(cadata=who.authority_pem)
    context.check_hostname = False
    context.load_cert_chain(pem)
    context.set_alpn_protocols(["h2"])
    return context


def shake(context: ssl.SSLContext, port: int) -> int:
    """The serial number that the server's certificate has."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


def serial(who: Identity) -> int:
    return read_certificate(who.certificate_pem).serial


def test_a_server_outlives_clients_that_dial_at_once(tmp_path: Path) -> None:
    """It was told its certificate anew at each handshake, and died of a use after free (grpc#36693)."""
    authority, now = ThrowawayAuthority("sim"), SystemClock().now()
    (tmp_path / "server").mkdir()
    north = authority.member(Role.PROVIDER, "north", at=now)
    identity.save(replace(north, coordinator="127.0.0.1:1"), tmp_path / "server")
    context = client_context(authority.member(Role.TENANT, "alice", at=now), tmp_path)
    argv = [sys.executable, "-m", "tests.handshake_server", str(tmp_path / "server")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with ThreadPoolExecutor(AT_ONCE) as threads:
            shown = set(threads.map(lambda _: shake(context, port), range(AT_ONCE * ROUNDS)))
        assert shown == {serial(north)}
        process.stdin.close()
        assert process.wait(10) == 0


def test_a_server_at_the_other_end_of_the_world_behind_a_tunnel_is_reached(tmp_path: Path) -> None:
    """0.8 s there and back: two of it until the connection stands."""

    async def body() -> None:
        made = server([], concurrent_calls=4)
        north = authority.member(Role.PROVIDER, "north", at=now)
        port = bind(made, "127.0.0.1:0", mtls_server_credentials(LiveIdentity(north)))
        await made.start()
        async with FaultyProxy(f"127.0.0.1:{port}") as proxy:
            proxy.distance_s = 0.4
            alice = authority.member(Role.TENANT, "alice", at=now)
            async with mtls_channel(proxy.address, alice, expect=north.member) as channel:
                await asyncio.wait_for(channel.channel_ready(), 20)
            assert proxy.connections == 1
        await made.stop(None)

    authority, now = ThrowawayAuthority("sim"), SystemClock().now()
    asyncio.run(body())


def test_a_certificate_that_was_renewed_is_shown_from_the_next_handshake_on_each_port(tmp_path: Path) -> None:
    async def body() -> None:
        live = LiveIdentity(authority.member(Role.PROVIDER, "north", at=now))
        made = server([], concurrent_calls=4)
        ports = [bind(made, "127.0.0.1:0", mtls_server_credentials(live)) for _ in range(2)]
        await made.start()
        for _ in range(3):
            for port in ports * 2:
                assert await asyncio.to_thread(shake, context, port) == serial(live.now)
            live.now = authority.member(Role.PROVIDER, "north", at=now)
        await made.stop(None)

    authority, now = ThrowawayAuthority("sim"), SystemClock().now()
    context = client_context(authority.member(Role.TENANT, "alice", at=now), tmp_path)
    asyncio.run(body())
