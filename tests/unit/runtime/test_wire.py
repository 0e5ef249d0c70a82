"""The engine's two framings, in pieces of any size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.adapters.runtime.logs import LINE_BYTES_MAX, LineJoiner
from provider.adapters.runtime.wire import ChunkDecoder, FrameDecoder, Request

STAMP = b"2026-11-22T17:00:00.123456789Z "


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.binary(min_size=1, max_size=200)), st.lists(st.integers(min_value=0, max_value=10_000)))
def test_chunks_come_out_as_they_went_in(payloads: list[bytes], cuts: list[int]) -> None:
    coded = b"".join(f"{len(each):x}\r\n".encode() + each + b"\r\n" for each in payloads) + b"0\r\n\r\n"
    decoder = ChunkDecoder()

    decoded = b"".join(decoder.feed(piece) for piece in pieces(coded, cuts))

    assert decoded == b"".join(payloads)
    assert decoder.ended


def test_what_is_not_chunked_is_an_error() -> None:
    with pytest.raises(EOFError):
        ChunkDecoder().feed(b"hello\r\n")


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=200))),
    st.lists(st.integers(min_value=0, max_value=10_000)),
)
def test_frames_come_out_as_they_went_in(frames: list[tuple[bool, bytes]], cuts: list[int]) -> None:
    coded = b"".join(
        bytes([2 if err else 1, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for err, data in frames
    )
    decoder = FrameDecoder()

    assert [frame for piece in pieces(coded, cuts) for frame in decoder.feed(piece)] == frames


def test_what_is_not_framed_is_an_error() -> None:
    with pytest.raises(EOFError):
        list(FrameDecoder().feed(b"plain text of a terminal"))


def frame(text: bytes, *, is_stderr: bool = False, stamp: bytes = STAMP) -> bytes:
    data = stamp + text
    return bytes([2 if is_stderr else 1, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


LOG = b"".join(
    (
        frame(b"one "),
        frame(b"error\n", is_stderr=True),
        frame(b"line\n", stamp=b"2026-11-22T17:00:01.000000000Z "),
        frame(b"\n"),
        frame(b"two\n"),
        frame(b"no end"),
    )
)


@given(st.lists(st.integers(min_value=0, max_value=10_000)))
def test_lines_are_joined_per_stream_and_keep_the_time_they_began(cuts: list[int]) -> None:
    joiner = LineJoiner(service="web", replica=0)
    batches = [batch for piece in pieces(LOG, cuts) for batch in joiner.feed(piece)] + joiner.rest()
    lines = [line for batch in batches for line in batch.lines()]

    assert [(line.text, line.is_stderr) for line in lines] == [
        ("error", True),
        ("one line", False),
        ("", False),
        ("two", False),
        ("no end", False),
    ]
    assert (lines[1].at_ns, lines[1].at) == (1_795_366_800_123_456_789, 1_795_366_800_123)


def test_lines_that_come_together_are_one_batch_for_each_stream() -> None:
    batches = LineJoiner(service="web", replica=0).feed(LOG)

    assert [(batch.text, batch.is_stderr, len(batch.at_ns)) for batch in batches] == [
        (b"error", True, 1),
        (b"one line\n\ntwo", False, 3),
    ]
    assert (batches[1].last(2).text, len(batches[1].last(2).at_ns), batches[1].last(9)) == (
        b"\ntwo",
        2,
        batches[1],
    )


def test_a_line_without_end_is_given_in_pieces() -> None:
    joiner = LineJoiner(service="web", replica=0)

    fed = [batch for _ in range(40) for batch in joiner.feed(frame(b"x" * 16_384))]

    assert [len(batch.text) for batch in fed] == [LINE_BYTES_MAX, LINE_BYTES_MAX]


@pytest.mark.parametrize(
    "data", [b"plain text of a terminal", frame(b"", stamp=b"no time at all, but as long as one")]
)
def test_what_is_no_log_is_an_error(data: bytes) -> None:
    with pytest.raises(EOFError):
        LineJoiner(service="web", replica=0).feed(data)


def test_an_upload_is_announced_and_has_no_length() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    head = Request(method="PUT", path="/x", upload=nothing()).encode().decode()

    assert "Transfer-Encoding: chunked\r\n" in head
    assert "Content-Length" not in head


def test_a_request_is_one_connection() -> None:
    request = Request(method="GET", path="/v1.41/events", query={"filters": '{"type": ["container"]}'})

    head = request.encode().decode()

    assert head.startswith("GET /v1.41/events?filters=%7B%22type%22%3A+%5B%22container%22%5D%7D HTTP/1.1\r\n")
    assert "Connection: close\r\n" in head
    assert "Upgrade: tcp\r\n" in Request(method="POST", path="/x", body={}, upgrade=True).encode().decode()
