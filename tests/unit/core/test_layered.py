"""Against ``dict``: the same things in the same order, and no copy sees what happens to another."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from provider.core.layered import CHANGES_MOST, Layered


def is_odd(number: int) -> bool:
    return bool(number % 2)


class Copies(RuleBasedStateMachine):
    """Puts, deletes and copies in any order, beside the same done to dicts."""

    def __init__(self) -> None:
        super().__init__()
        start = {number: -number for number in range(3)}
        self.ours, self.plain = Layered(start, is_odd), dict(start)
        self.kept: list[tuple[Layered[int, int], dict[int, int]]] = []

    @rule(key=st.integers(0, 9), value=st.integers())
    def put(self, key: int, value: int) -> None:
        self.ours[key] = self.plain[key] = value

    @rule(first=st.integers(10, 99), count=st.integers(1, CHANGES_MOST + 2))
    def put_many(self, first: int, count: int) -> None:
        for key in range(first, first + count):
            self.ours[key] = self.plain[key] = first

    @rule(key=st.integers(0, 9))
    def move_to_the_end(self, key: int) -> None:
        for mapping in (self.ours, self.plain):
            mapping.pop(key, None)
            mapping[key] = 7

    @rule(key=st.integers(0, 19))
    def drop(self, key: int) -> None:
        assert self.ours.pop(key, None) == self.plain.pop(key, None)

    @rule()
    def drop_the_oldest(self) -> None:
        if self.plain:
            oldest = next(iter(self.plain))
            assert next(iter(self.ours)) == oldest
            del self.ours[oldest], self.plain[oldest]

    @rule()
    def walk(self) -> None:
        assert list(self.ours.values()) == list(self.plain.values())

    @rule()
    def go_on_with_a_copy(self) -> None:
        self.kept.append((self.ours, dict(self.plain)))
        self.ours = Layered(self.ours, is_odd)

    @invariant()
    def it_is_the_same(self) -> None:
        for ours, plain in ((self.ours, self.plain), *self.kept):
            assert list(ours) == list(plain)
            assert len(ours) == len(plain)
            assert (ours.count(True), ours.count(False)) == (odd := sum(map(is_odd, plain)), len(plain) - odd)
            assert all(ours[key] == value and key in ours for key, value in plain.items())
            assert ours == plain

    def teardown(self) -> None:
        for ours, plain in self.kept:
            assert list(ours.items()) == list(plain.items()), "whatever was written out meanwhile"


TestCopies = Copies.TestCase
TestCopies.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_what_is_not_there() -> None:
    ours = Layered({1: "one"}, is_odd)
    del ours[1]
    assert 1 not in ours
    assert ours.get(1) is None
    assert repr(ours) == "Layered({})"
    for missing in (1, 2):
        try:
            del ours[missing]
        except KeyError:
            continue
        raise AssertionError(missing)


def test_what_it_was_made_of_is_not_written_to() -> None:
    plain = {number: number for number in range(CHANGES_MOST * 2)}
    ours = Layered(plain, is_odd)
    for number in range(CHANGES_MOST + 2):
        del ours[number]
    ours[-1] = -1
    assert len(plain) == CHANGES_MOST * 2
    assert list(ours)[-1] == -1
