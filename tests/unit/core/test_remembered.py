"""Answers that are remembered: of the same values only, and not for ever."""

from __future__ import annotations

from provider.core.remembered import by_identity


def test_the_same_value_is_asked_once_and_an_equal_one_again() -> None:
    asked: list[tuple[int, ...]] = []

    @by_identity(most=2)
    def total(numbers: tuple[int, ...]) -> int:
        asked.append(numbers)
        return sum(numbers)

    one, other, third = (1, 2, 3), tuple(range(1, 4)), (4,)
    assert one == other
    assert one is not other
    assert [total(one), total(one), total(other)] == [6, 6, 6]
    assert len(asked) == 2
    assert total(third) == 4
    assert total(other) == 6
    assert len(asked) == 3, "two are kept"
    assert total(one) == 6
    assert len(asked) == 4, "the oldest was forgotten"


def test_nothing_that_is_gone_lends_its_identity_to_something_new() -> None:
    @by_identity(most=4)
    def first(numbers: list[int]) -> int:
        return numbers[0]

    for number in range(1_000):
        assert first([number]) == number
