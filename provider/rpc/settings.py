"""Every number of the wire in one place, with the reason beside it; channels and servers made with them.

Owns: gRPC options, deadlines, limits, how a TLS or a local channel is opened and a server is built.
Does not own: who is who (``identity``), what errors mean (``status``).
Invariant: no server or channel of this project is made without these options. "Measured" means on
grpcio 1.85.1, Linux, November 2026.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio

from provider.domain.errors import ConfigError
from provider.rpc.identity import Identity, LiveIdentity
from provider.rpc.member import Member

BIDS_MOST = 256
"""Of one PlaceBids."""
DEADLINE_S = 10.0
"""Of every unary call: long enough for a slow disk, short enough that a person still waits."""
WELCOME_S = 10.0
"""From dialling to the coordinator's Welcome."""
HEARTBEAT_INTERVAL_MS = 10_000
"""What Welcome tells: 5,000 agents cost an eighth of a core at 0.26 ms each (measured)."""
SILENT_INTERVALS = 3
"""So many heartbeat intervals without any message, and a session is over."""
ACK_DELAY_S = 0.05
"""How long an acknowledgement waits for a message to travel on."""
ACK_AT_ONCE = 64
"""So many unacknowledged messages are acknowledged without waiting."""
CHANGES_MOST = 64
"""Changes of a market in one message: a few milliseconds of an agent's work."""
CHANGES_BYTES = 64 * 1024
"""No further change is added to a message that has so many: control messages stay small."""
UNACKED_MOST = 256
"""Messages in flight on one session, each direction: the credit window."""

SESSION_MESSAGE_BYTES = 1024 * 1024
"""Largest message between agent and coordinator; orders are a few KiB."""
LEASE_MESSAGE_BYTES = 512 * 1024
"""Largest message at the lease service: a manifest, its ids and the framing."""
MANIFEST_BYTES = 256 * 1024
"""Largest manifest JSON."""
CHUNK_BYTES = 32 * 1024
"""Of logs and exec streams: larger chunks gained nothing (measured), smaller ones cost calls."""
TUNNEL_PIECE_BYTES = 64 * 1024
"""Largest piece of a tunnel's bytes: the largest read of a socket that asyncio makes by default."""
TUNNEL_WINDOW_BYTES = 512 * 1024
"""Of a stream at the coordinator: a tunnel that is stalled both ways costs it 2.4 MB, and 11 MB with the
window that gRPC chooses by itself (measured). One carries 10 MB/s over 50 ms."""
TUNNELS_MOST = 64
"""That a provider has open at once."""
METADATA_BYTES = 16 * 1024
"""Largest request metadata: a token has about 350 bytes."""
STREAMS_PER_CONNECTION = 256
"""A stalled stream can hold about 4 MiB of flow-control window (measured): this bounds one peer."""
CONNECTION_AGE_MS = 3_600_000
"""Certificates are looked at only in the handshake (measured), so no connection outlives this."""
CONNECTION_GRACE_MS = 30_000

Options = list[tuple[str, int | str]]

_CLIENT: Options = [
    # A dead network is noticed after 30 + 10 s even where nothing is sent.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Without this a frozen peer, whose kernel still acknowledges, was noticed after 63 to 78 s.
    ("grpc.http2.ping_timeout_ms", 10_000),
    # The default of 2 throttles an idle connection's keepalive to one a minute.
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # A channel never shares its connection, or its backoff, with another one to the same address.
    ("grpc.use_local_subchannel_pool", 1),
    # Dialling again is ours to time (full jitter); the channel itself only tries promptly.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Whatever its name says: how long a connection may take to stand, the handshake included.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    # Proxies of the environment are for browsers; identities are end to end.
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
]

_SERVER: Options = [
    # On by default, and then a second daemon binds the same port without an error.
    ("grpc.so_reuseport", 0),
    # The name that has effect (`min_recv_ping_interval` has none): clients ping every 30 s.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
    ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_MS),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
    ("grpc.max_metadata_size", METADATA_BYTES),
]


def limits(message_bytes: int) -> Options:
    """Options that bound a message in both directions."""
    return [
        ("grpc.max_receive_message_length", message_bytes),
        ("grpc.max_send_message_length", message_bytes),
    ]


def mtls_channel(
    address: str, identity: Identity, *, expect: Member, message_bytes: int = SESSION_MESSAGE_BYTES
) -> grpc.aio.Channel:
    """A channel to ``address`` that proves who we are and accepts nobody but ``expect``.

    The certificate is read once: make a new channel after a renewal. Whoever makes it closes it, and
    cancels every call on it (``rpc.calls``).
    """
    credentials = grpc.ssl_channel_credentials(
        identity.authority_pem.encode(), identity.key.reveal().encode(), identity.certificate_pem.encode()
    )
    return _channel(address, credentials, expect, message_bytes)


def tls_channel(address: str, authority_pem: str, *, expect: Member) -> grpc.aio.Channel:
    """The same for someone who has no certificate yet: only the other side proves who it is."""
    credentials = grpc.ssl_channel_credentials(authority_pem.encode())
    return _channel(address, credentials, expect, SESSION_MESSAGE_BYTES)


def _channel(
    address: str, credentials: grpc.ChannelCredentials, expect: Member, message_bytes: int
) -> grpc.aio.Channel:
    options = [*_CLIENT, *limits(message_bytes), ("grpc.ssl_target_name_override", expect.dns_name)]
    return grpc.aio.secure_channel(address, credentials, options=options)


def unix_channel(path: Path) -> grpc.aio.Channel:
    """A channel to a daemon on this machine. ``ConfigError`` where no daemon can be listening."""
    if not path.exists():
        raise ConfigError(
            f"nothing listens at {path}", remedy="start the daemon, or name the state folder that it uses"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise ConfigError(f"{path} belongs to someone else", remedy="run this as the daemon's user or root")
    options = [*_CLIENT, *limits(SESSION_MESSAGE_BYTES), ("grpc.default_authority", "localhost")]
    return grpc.aio.insecure_channel(f"unix:{path}", options=options)


def server(
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    *,
    concurrent_calls: int,
    message_bytes: int = SESSION_MESSAGE_BYTES,
    window_bytes: int | None = None,
) -> grpc.aio.Server:
    """A server with these options, not yet bound. Past ``concurrent_calls``: RESOURCE_EXHAUSTED.

    ``window_bytes``: what a peer may send of one stream before it is read; None lets gRPC measure.
    """
    window: Options = []
    if window_bytes is not None:
        window = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", window_bytes)]
    return grpc.aio.server(
        interceptors=interceptors,
        options=[*_SERVER, *limits(message_bytes), *window],
        maximum_concurrent_rpcs=concurrent_calls,
    )


def mtls_server_credentials(identity: LiveIdentity) -> grpc.ServerCredentials:
    """Asks every client for a certificate of the market, and shows the newest of ours. For one port."""
    return _live_credentials(identity, trust_clients=True)


def tls_server_credentials(identity: LiveIdentity) -> grpc.ServerCredentials:
    """The same without asking the client for anything: only for enrolment."""
    return _live_credentials(identity, trust_clients=False)


def _live_credentials(identity: LiveIdentity, *, trust_clients: bool) -> grpc.ServerCredentials:
    """gRPC asks at each handshake, in threads of its own, one at a time for each port.

    What it is given replaces, without a lock, what other handshakes may be using (grpc#36693). So it is given
    what is new and nothing else: with the same again, one server in ten died of 16 clients at once (measured,
    1.85.1).
    """
    shown = identity.now

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        if identity.now is shown:
            return None
        shown = identity.now
        return _certificate_of(shown, trust_clients=trust_clients)

    first = _certificate_of(shown, trust_clients=trust_clients)
    # Its documentation has None for "as before"; its stub does not.
    return grpc.dynamic_ssl_server_credentials(
        first,
        fetch,  # type: ignore[arg-type]
        require_client_authentication=trust_clients,
    )


def _certificate_of(identity: Identity, *, trust_clients: bool) -> grpc.ServerCertificateConfiguration:
    pair = (identity.key.reveal().encode(), identity.certificate_pem.encode())
    roots = identity.authority_pem.encode() if trust_clients else None
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=roots)


def bind(target: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    """Listen at ``host:port`` and return the port (asked for with port 0). ``ConfigError`` if it is taken."""
    try:
        return target.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise ConfigError(
            f"cannot listen at {address}: the port is taken or not ours to take",
            remedy="stop what listens there, or choose another address",
        ) from error


SOCKET_PATH_BYTES_MOST = 107
"""``sun_path`` of unix(7), less the zero at its end."""


def bind_unix(target: grpc.aio.Server, path: Path, credentials: grpc.ServerCredentials | None = None) -> None:
    """Listen at a socket file that only this user may open (0600); a dead daemon's file is replaced.

    With ``credentials``, TLS inside as on a port. ``ConfigError`` when a living daemon listens there: gRPC
    itself would silently take its place.
    """
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MOST:
        raise ConfigError(
            f"cannot listen at {path}: a socket's path has {SOCKET_PATH_BYTES_MOST} bytes at most",
            remedy="choose a state folder with a shorter path",
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and _is_listening(path):
        raise ConfigError(
            f"another daemon listens at {path}", remedy="stop it first, or use another state folder"
        )
    before = os.umask(0o177)  # the file is never, not even for a moment, open to others
    try:
        if credentials is None:
            target.add_insecure_port(f"unix:{path}")
        else:
            target.add_secure_port(f"unix:{path}", credentials)
    except RuntimeError as error:
        raise ConfigError(
            f"cannot listen at {path}", remedy="check that the directory exists and is writable"
        ) from error
    finally:
        os.umask(before)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True
