"""Who listens, as the kernel tells: in tables written down, and in this process's own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from provider.adapters import sockets
from provider.adapters.runtime import readiness
from provider.domain.manifest import Expose, Proto
from tests.launches import service

TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0E00A8C0:0016 0100A8C0:D431 01 00000000:00000000 02:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
"""
UDP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000
   1: 00000000000000000000000001000000:0036 00000000000000000000000000000000:0000 07 00000000:00000000
"""


def test_what_listens_for_others(tmp_path: Path) -> None:
    for name, text in {"tcp": TCP, "tcp6": "head\n", "udp": "head\n", "udp6": UDP6}.items():
        (tmp_path / name).write_text(text)
    assert sockets.listening(tmp_path) == {("tcp", 80), ("udp", 53)}
    assert sockets.listening(tmp_path, loopback=True) == {
        ("tcp", 80),
        ("tcp", 8080),
        ("udp", 53),
        ("udp", 54),
    }
    (tmp_path / "tcp6").unlink()
    assert ("tcp", 80) in sockets.listening(tmp_path), "a kernel without IPv6"
    (tmp_path / "tcp").unlink()
    with pytest.raises(FileNotFoundError):
        sockets.listening(tmp_path)


def test_a_service_is_ready_once_it_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        wanted = (("tcp", listener.getsockname()[1]),)
        assert readiness.missing(os.getpid(), wanted) == wanted
        listener.listen()
        assert readiness.missing(os.getpid(), wanted) == ()


def test_a_process_that_cannot_be_seen_counts_as_ready() -> None:
    assert readiness.missing(2**22 + 1, (("tcp", 80),)) == ()


def test_ports_are_kept_as_a_label() -> None:
    asked = service(
        expose=(Expose(port=80), Expose(port=53, proto=Proto.UDP), Expose(port=80, is_global=True))
    )
    ports = readiness.exposed(asked)
    assert ports == (("tcp", 80), ("udp", 53))
    assert readiness.from_label(readiness.as_label(ports)) == ports
    assert readiness.from_label("") == readiness.from_label("what,ever") == ()
