"""A followed log over lost connections: every line once, whatever is cut where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.app import log_following
from provider.app.log_following import followed
from provider.domain.errors import Permanent, Temporary
from provider.domain.workload import LogBatch
from provider.ports import LogRequest
from provider.rpc.v1.lease_pb2 import StreamLogsResponse

SECOND = 1_000_000_000


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    """Nobody waits between two tries."""
    before, log_following.PAUSES_S = log_following.PAUSES_S, (0.0,)
    yield
    log_following.PAUSES_S = before


@dataclass
class Provider:
    """Holds lines of two replicas, and breaks off after so many messages at each connection."""

    lines: list[tuple[int, int]]
    """Replica and time, as they were written."""
    cuts: list[int]
    requests: list[LogRequest] = field(default_factory=list)

    async def logs(self, wanted: LogRequest) -> AsyncIterator[StreamLogsResponse]:
        self.requests.append(wanted)
        left = self.cuts.pop(0) if self.cuts else None
        for replica, at_ns in self.lines:
            if at_ns > wanted.since_ns:
                if left == 0:
                    raise Temporary("the provider went away")
                left = None if left is None else left - 1
                text = f"{replica}@{at_ns}".encode()
                yield StreamLogsResponse(service="web", replica=replica, text=text, at_ns=[at_ns])


def read(provider: Provider, wanted: LogRequest) -> tuple[list[LogBatch], list[str]]:
    said: list[str] = []

    @asynccontextmanager
    async def connect() -> AsyncIterator[Any]:
        yield provider

    async def all_of_it() -> list[LogBatch]:
        async with asyncio.timeout(10):
            return [batch async for batch in followed(connect, wanted, said.append)]

    return asyncio.run(all_of_it()), said


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, SECOND)), unique_by=lambda line: line[1]),
    st.lists(st.integers(1, 5), max_size=4),
)
def test_every_line_comes_once_and_in_its_replicas_order(
    lines: list[tuple[int, int]], cuts: list[int]
) -> None:
    lines = sorted(lines, key=lambda line: line[1])

    batches, _ = read(Provider(lines=lines, cuts=cuts), LogRequest(follow=True))

    assert [(batch.replica, *batch.at_ns) for batch in batches] == lines


def test_an_interruption_is_told_once_and_so_is_its_end() -> None:
    lines = [(0, SECOND * number) for number in range(1, 4)]

    batches, said = read(Provider(lines=lines, cuts=[1, 0, 0]), LogRequest(follow=True, tail=3))

    assert len(batches) == 3
    assert said == ["the log is interrupted: the provider went away; connecting again", "the log goes on"]


def test_a_reader_of_one_replica_goes_on_from_its_last_line() -> None:
    lines = [(0, SECOND * number) for number in range(1, 40)]
    provider = Provider(lines=lines, cuts=[20])

    read(provider, LogRequest(service="web", replica=0, follow=True, tail=50))

    assert provider.requests[1] == LogRequest(service="web", replica=0, follow=True, since_ns=20 * SECOND)


@pytest.mark.parametrize("wanted", [LogRequest(), LogRequest(follow=True)])
def test_a_connection_that_never_was_is_an_error(wanted: LogRequest) -> None:
    with pytest.raises(Temporary):
        read(Provider(lines=[(0, 1)], cuts=[0]), wanted)


def test_a_refusal_is_not_tried_again() -> None:
    class Refusing(Provider):
        async def logs(self, wanted: LogRequest) -> AsyncIterator[StreamLogsResponse]:
            async for answer in super().logs(wanted):
                yield answer
            raise Permanent("the lease has ended")

    with pytest.raises(Permanent):
        read(Refusing(lines=[(0, 1)], cuts=[]), LogRequest(follow=True))


def test_a_replica_whose_lines_came_later_than_anothers_loses_none() -> None:
    lines = [(0, 100 * SECOND), (1, 99 * SECOND), (0, 101 * SECOND)]

    batches, _ = read(Provider(lines=lines, cuts=[1]), LogRequest(follow=True))

    assert sorted((batch.replica, *batch.at_ns) for batch in batches) == sorted(lines)
