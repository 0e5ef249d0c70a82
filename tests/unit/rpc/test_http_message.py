"""One request head in, one response out."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.rpc.http_message import BadRequest, parse, plain, serialize, takes_gzip


def test_a_scrapers_request() -> None:
    request = parse(b"GET /metrics?x=1 HTTP/1.1\r\nHost: a:1\r\nAccept: text/plain\r\nX-Empty:\r\n\r\n")
    assert (request.method, request.path, request.keep_alive) == ("GET", "/metrics", True)
    assert request.headers == {"host": "a:1", "accept": "text/plain", "x-empty": ""}


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [("1.1", "", True), ("1.1", "close", False), ("1.0", "", False), ("1.0", "keep-alive", True)],
)
def test_who_may_send_another(version: str, connection: str, keep_alive: bool) -> None:
    header = f"Connection: {connection}\r\n" if connection else ""
    assert parse(f"GET / HTTP/{version}\r\n{header}\r\n".encode()).keep_alive == keep_alive


@pytest.mark.parametrize(
    "head",
    [
        b"GET /metrics\r\n\r\n",
        b"GET /metrics HTTP/2.0\r\n\r\n",
        b"get / HTTP/1.1\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded: line\r\n\r\n",
        b"GET / HTTP/1.1\r\nSpace : before\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00 a TLS hello\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(head: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        parse(head)
    assert refused.value.status is HTTPStatus.BAD_REQUEST


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(junk: bytes) -> None:
    try:
        request = parse(junk + b"\r\n\r\n")
    except BadRequest:
        return
    assert request.method.isupper()


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("GZIP;q=0.0", False),
        ("*", True),
    ],
)
def test_gzip_only_for_who_takes_it(accepted: str, takes: bool) -> None:
    assert takes_gzip(accepted) == takes


def test_a_head_response_has_the_length_and_no_body() -> None:
    wire = serialize(plain(HTTPStatus.OK, "alive"), keep_alive=True, with_body=False)
    assert wire.endswith(b"Content-Length: 6\r\nConnection: keep-alive\r\n\r\n")
