"""Sequence numbers: nothing is acknowledged early, nothing is forgotten early, order is kept."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.domain.errors import PeerError
from provider.rpc.sequence import Inbox, Outbox


def test_an_ack_covers_only_what_is_committed_without_gaps() -> None:
    inbox = Inbox()
    for seq in (1, 2, 3):
        inbox.take(seq)
    inbox.committed(2)
    assert inbox.ack == 0
    inbox.committed(1)
    assert inbox.ack == 2
    inbox.committed(2)
    inbox.committed(3)
    assert inbox.ack == 3


@pytest.mark.parametrize("seq", [0, 1, 3, 4])
def test_a_message_out_of_order_is_refused(seq: int) -> None:
    inbox = Inbox()
    inbox.take(1)
    with pytest.raises(PeerError, match=f"message {seq} came after message 1"):
        inbox.take(seq)


@given(st.permutations(range(1, 20)))
def test_the_ack_never_runs_ahead_whatever_the_order_of_commits(order: list[int]) -> None:
    inbox, done = Inbox(), set()
    for seq in range(1, 20):
        inbox.take(seq)
    for seq in order:
        inbox.committed(seq)
        done.add(seq)
        assert set(range(1, inbox.ack + 1)) <= done
        assert inbox.ack + 1 not in done
    assert inbox.ack == 19


def test_an_ack_of_what_was_never_sent_is_refused() -> None:
    outbox: Outbox[str] = Outbox()
    outbox.number()
    with pytest.raises(PeerError, match="message 2 is acknowledged, but only 1 were sent"):
        outbox.acknowledge(2)


def test_no_more_than_the_window_is_in_flight() -> None:
    outbox: Outbox[str] = Outbox(unacked_most=2)
    woken: list[int] = []
    for key in "abc":
        outbox.add(key, key)
    assert [outbox.next(), outbox.next(), outbox.next()] == [(1, "a", "a"), (2, "b", "b"), None]
    outbox.on_wanted = lambda: woken.append(1)
    assert outbox.acknowledge(1) == ("a",)
    assert (woken, outbox.next()) == ([1], (3, "c", "c"))


def test_what_is_dropped_is_not_sent_and_settles_nothing() -> None:
    outbox: Outbox[str] = Outbox()
    outbox.add("a", "1")
    outbox.add("b", "2")
    outbox.add("a", "again")
    outbox.drop("a")
    assert outbox.next() == (1, "b", "2")
    outbox.drop("b")
    assert (outbox.acknowledge(1), len(outbox)) == ((), 0)


@given(st.integers(0, 2**32))
def test_over_any_cuts_everything_arrives_in_order_and_settles_once(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 -- a test's dice
    outbox: Outbox[int] = Outbox(unacked_most=3)
    arrived: list[str] = []
    settled: list[str] = []
    inbox = Inbox()
    outbox.start_session()
    added = 0
    while len(settled) < 20:
        match chance.randrange(5):
            case 0 if added < 20:
                added += 1
                outbox.add(str(added), added)
            case 1 | 2:
                sent = outbox.next()
                if sent is not None and chance.random() < 0.8:
                    inbox.take(sent[0])
                    inbox.committed(sent[0])
                    arrived.append(sent[1])
                elif sent is not None:
                    inbox = Inbox()
                    outbox.start_session()
            case 3:
                settled.extend(outbox.acknowledge(inbox.ack))
            case _ if chance.randrange(6) == 0:
                inbox = Inbox()
                outbox.start_session()
    assert settled == [str(number) for number in range(1, 21)]
    assert list(dict.fromkeys(arrived)) == settled
