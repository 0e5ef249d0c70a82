"""What a simulated container does with its command."""

from __future__ import annotations

import pytest

from provider.domain.moment import Span
from provider.sim.script import FOR_EVER, Line, Timeline, timeline


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ((), FOR_EVER),
        (("/bin/server", "--port", "1"), FOR_EVER),
        (("true",), Timeline(ends_after=Span(0))),
        (("sh", "-c", "false"), Timeline(ends_after=Span(0), exit_code=1)),
        (("sh", "-c", "exit 3; echo never"), Timeline(ends_after=Span(0), exit_code=3)),
        (("cat",), Timeline(ends_after=Span(0), copies_input=True)),
        (
            ("sh", "-c", "echo a; sleep 0.5; echo 'b c' >&2; sleep 1; exit 2"),
            Timeline(
                lines=(Line(after=Span(0), text="a"), Line(after=Span(500), text="b c", is_stderr=True)),
                ends_after=Span(1500),
                exit_code=2,
            ),
        ),
        (("sh", "-c", "echo a; exec server"), Timeline(lines=(Line(after=Span(0), text="a"),))),
    ],
)
def test_commands(argv: tuple[str, ...], expected: Timeline) -> None:
    assert timeline(argv) == expected
