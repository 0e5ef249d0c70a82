"""The immutable mapping under the book."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provider.coordinator.table import Table

keys = st.integers(0, 20) | st.text(max_size=2)


@given(st.lists(st.tuples(keys, st.none() | st.integers())))
def test_it_behaves_as_a_dict_that_is_copied_at_each_change(
    changes: list[tuple[int | str, int | None]],
) -> None:
    table: Table[int | str, int] = Table()
    model: dict[int | str, int] = {}
    history = []
    for key, value in changes:
        history.append((table, dict(model)))
        if value is None:
            table = table.without(key)
            model.pop(key, None)
        else:
            table = table.put(key, value)
            model[key] = value
    for each, expected in [*history, (table, model)]:
        assert {key: each[key] for key in each} == expected
        assert len(each) == len(expected)
        assert sorted(each.values()) == sorted(expected.values())
        assert all(key in each for key in expected)
    assert table.get("never there") is None


def test_equal_contents_are_equal() -> None:
    one: Table[str, int] = Table()
    assert one.put("a", 1).put("b", 2) == one.put("b", 2).put("c", 3).put("a", 1).without("c")
    assert one.put("a", 1) != one
