"""Both ends of the tests' own traffic, each run as a process inside a network namespace that a test made.

``answer ADDRESSES PORTS`` listens on every pair, TCP and UDP, and greets; on port 53 it is a name server that
knows one address, on 5001 it sends for ever, on 5002 it swallows. ``ask`` reads a JSON list of protocol,
address and port and prints which of them answered; ``crowd ADDRESS PORT COUNT`` how many of that many
connections at once did; ``rate ADDRESS PORT`` how many bytes passed in a moment; ``hold ADDRESS PORT``
keeps one connection, and says for each line of its input whether it still answers.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

GREETING = b"here\n"
INTERNET = "203.0.113.10"
SOURCE, SINK = 5001, 5002
WAIT_S = 1.0
MOMENT_S = 0.5
CHUNK = b"x" * 65_536


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def answer(addresses: list[str], ports: list[int]) -> None:
    selector = selectors.DefaultSelector()
    for address in addresses:
        for port in ports:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                server = socket.socket(family(address), kind)
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind((address, port))
                if kind is socket.SOCK_STREAM:
                    server.listen(512)
                server.setblocking(False)
                selector.register(server, selectors.EVENT_READ, port)
    say("ready")
    while True:
        for key, _ in selector.select():
            with contextlib.suppress(OSError):
                serve(key.fileobj, key.data, selector)  # type: ignore[arg-type]


def serve(readable: socket.socket, port: int, selector: selectors.BaseSelector) -> None:
    """Something came in on a listening, a datagram or a connected socket."""
    if readable.type is socket.SOCK_DGRAM:
        data, peer = readable.recvfrom(4096)
        readable.sendto(name_answer(data) if port == 53 else GREETING, peer)
    elif readable.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        connected, _ = readable.accept()
        if port == SOURCE:
            connected.settimeout(5)
            ThreadPoolExecutor(1).submit(pour, connected)
            return
        connected.sendall(GREETING)
        selector.register(connected, selectors.EVENT_READ, port)
    else:
        data = readable.recv(len(CHUNK))
        if not data:
            selector.unregister(readable)
            readable.close()
        elif port != SINK:
            readable.sendall(data)


def pour(connected: socket.socket) -> None:
    with contextlib.suppress(OSError), connected:
        while True:
            connected.sendall(CHUNK)


def name_answer(query: bytes) -> bytes:
    """Every A record is ``INTERNET``, and there are no others (RFC 1035, section 4)."""
    question = query[12 : query.index(b"\0", 12) + 5]
    is_a = question[-4:-2] == b"\0\1"
    head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(INTERNET)
    return head + question + (record if is_a else b"")


def asked(target: tuple[str, str, int]) -> bool:
    proto, address, port = target
    kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
    try:
        with socket.socket(family(address), kind) as client:
            client.settimeout(WAIT_S)
            if kind is socket.SOCK_STREAM:
                client.connect((address, port))
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            else:
                # Not connected: a host with many addresses may answer from another one.
                client.sendto(b"\0" * 12 + b"\4test\0\0\1\0\1", (address, port))
            return bool(client.recv(64))
    except OSError:
        return False


def crowd(address: str, port: int, count: int) -> int:
    clients = [socket.socket() for _ in range(count)]
    for each in clients:
        each.setblocking(False)
        each.connect_ex((address, port))
    deadline = time.monotonic() + WAIT_S
    answered: set[socket.socket] = set()
    while len(answered) < count and time.monotonic() < deadline:
        for each in clients:
            with contextlib.suppress(OSError):
                if each not in answered and each.recv(64):
                    answered.add(each)
        time.sleep(0.01)
    for each in clients:
        each.close()
    return len(answered)


def rate(address: str, port: int) -> int:
    with socket.create_connection((address, port), timeout=WAIT_S) as client:
        if port == SINK:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(CHUNK))
        client.settimeout(0.1)
        passed, until = 0, time.monotonic() + MOMENT_S
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                passed += client.send(CHUNK) if port == SINK else len(client.recv(len(CHUNK)))
        return passed


def hold(address: str, port: int) -> None:
    with socket.create_connection((address, port), timeout=WAIT_S) as client:
        client.recv(64)
        say("open")
        for line in sys.stdin:
            client.sendall(line.encode())
            try:
                say("answers" if client.recv(64) else "closed")
            except OSError:
                say("silent")


def main() -> None:
    match sys.argv[1:]:
        case ["answer", addresses, ports]:
            answer(addresses.split(","), [int(port) for port in ports.split(",")])
        case ["ask"]:
            with ThreadPoolExecutor(32) as threads:
                say(json.dumps(list(threads.map(asked, json.load(sys.stdin)))))
        case ["crowd", address, port, count]:
            say(str(crowd(address, int(port), int(count))))
        case ["rate", address, port]:
            say(str(rate(address, int(port))))
        case ["hold", address, port]:
            hold(address, int(port))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
