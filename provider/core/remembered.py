"""What a pure function said last of the very same values: for what each decision asks and seldom changes.

Values of the core never change, so the same object has the same answer; comparing large ones would cost more
than working the answer out. Owns the keeping and nothing that is kept. Invariant: an answer is of these very
arguments, which are kept beside it, and no more than ``most`` answers are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def by_identity(most: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Remember the answers of a function of positional arguments for the ``most`` last new ones."""

    def remembering(function: Callable[P, R]) -> Callable[P, R]:
        kept: dict[tuple[int, ...], tuple[tuple[object, ...], R]] = {}

        @wraps(function)
        def remembered(*args: P.args, **kwargs: P.kwargs) -> R:
            assert not kwargs, "arguments are told apart by their place"
            key = tuple(map(id, args))
            found = kept.get(key)
            if found is not None:
                return found[1]  # its arguments are alive, so that nothing else has their identities
            answer = function(*args, **kwargs)
            if len(kept) >= most:
                del kept[next(iter(kept))]
            kept[key] = args, answer
            return answer

        return remembered

    return remembering
