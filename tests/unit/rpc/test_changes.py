"""Changes that go together: in their order, within bounds, and none of them twice."""

from __future__ import annotations

from collections.abc import Iterator

from provider.rpc.changes import Body, together
from provider.rpc.settings import CHANGES_BYTES, CHANGES_MOST
from provider.rpc.v1 import market_pb2 as pb
from provider.rpc.v1 import resources_pb2


def bodies(count: int, name_bytes: int = 5) -> Iterator[Body]:
    for number in range(1, count + 1):
        order = resources_pb2.OrderId(owner="a" * name_bytes, dseq=number, gseq=1, oseq=1)
        yield {"version": number, "order_closed": pb.OrderClosed(order=order)}


def messages(waiting: Iterator[Body]) -> list[list[int]]:
    """The versions in each message, until nothing waits."""
    found = []
    while (body := together(waiting)) is not None:
        changes = body["changes"].changes if "changes" in body else [pb.Change(**body)]
        found.append([each.version for each in changes])
    return found


def test_nothing_makes_no_message_and_one_is_told_as_ever() -> None:
    assert together(bodies(0)) is None
    assert together(bodies(1)) == next(bodies(1))


def test_what_is_too_many_for_one_message_goes_in_the_next() -> None:
    made = messages(bodies(2 * CHANGES_MOST + 1))
    assert [len(each) for each in made] == [CHANGES_MOST, CHANGES_MOST, 1]
    assert [version for each in made for version in each] == list(range(1, 2 * CHANGES_MOST + 2))


def test_large_ones_are_not_heaped_up() -> None:
    made = messages(bodies(9, name_bytes=CHANGES_BYTES // 2))
    assert made == [[1, 2], [3, 4], [5, 6], [7, 8], [9]]
