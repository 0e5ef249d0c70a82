"""The little of HTTP/1.1 that a scrape or a question of the ingress needs: a request head in, a response out.

Owns parsing and its limits. A request with a body is refused outright: nothing here takes one, and a body
that is not read would be taken for the next request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

HEAD_MOST_BYTES = 16 * 1024
_REQUEST_LINE = re.compile(r"([A-Z]+) (\S+) HTTP/1\.([01])")
_HEADER = re.compile(r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\0\r\n]*?)[ \t]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """``headers`` by lower-case name; of a repeated one the last counts."""

    method: str
    path: str
    query: str
    """As it was sent, without the ``?``."""
    headers: dict[str, str]
    keep_alive: bool


class BadRequest(Exception):
    """Not a request that can be answered with anything but this status."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def parse(head: bytes) -> Request:
    """From the bytes up to and with the empty line. ``BadRequest`` otherwise."""
    line, *rest = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    headers: dict[str, str] = {}
    for each in rest:
        header = _HEADER.fullmatch(each)
        if header is None:
            raise BadRequest(HTTPStatus.BAD_REQUEST)
        headers[header[1].lower()] = header[2]
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise BadRequest(HTTPStatus.BAD_REQUEST)
    connection = headers.get("connection", "").lower()
    path, _, query = match[2].partition("?")
    return Request(
        method=match[1],
        path=path,
        query=query,
        headers=headers,
        keep_alive=connection != "close" and (match[3] == "1" or connection == "keep-alive"),
    )


def takes_gzip(accept_encoding: str) -> bool:
    """``gzip`` is among what the client takes, and not at quality 0."""
    for part in accept_encoding.lower().split(","):
        coding, _, quality = (piece.strip() for piece in part.partition(";"))
        if coding in ("gzip", "*"):
            return not re.fullmatch(r"q=0(\.0*)?", quality)
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """``headers`` beside the ones that every response has."""

    status: HTTPStatus
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/plain; charset=utf-8"),)


def plain(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Response:
    """One line of text."""
    return Response(
        status=status,
        body=f"{text}\n".encode(),
        headers=(("Content-Type", "text/plain; charset=utf-8"), *headers),
    )


def serialize(response: Response, *, keep_alive: bool, with_body: bool) -> bytes:
    """As it goes over the wire. A HEAD request gets the headers, the length among them, and no body."""
    lines = [
        f"HTTP/1.1 {response.status.value} {response.status.phrase}",
        *(f"{name}: {value}" for name, value in response.headers),
        f"Content-Length: {len(response.body)}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
    ]
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head + response.body if with_body else head
