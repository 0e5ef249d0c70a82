"""What runs in ``machine``: each trial on each file system. Prints ``ok NAME`` or ``not ok NAME``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import ModuleType

from tests.quota import ends, filtered, places, sizes
from tests.quota.world import World, clear, worlds

Trial = Callable[[World], None]


def trials(module: ModuleType) -> list[Trial]:
    """In the order in which they are written."""
    return [each for name, each in vars(module).items() if name.startswith("test_")]


def held(world: World, trial: Trial) -> None:
    """It goes well, and leaves nothing behind."""
    trial(world)
    clear(world)
    assert world.left() == [], world.left()


def main() -> None:
    """The end of it is the machine's."""
    for world in worlds():
        for trial in (each for module in (sizes, places, ends) for each in trials(module)):
            clear(world)
            began = time.monotonic()
            is_well = filtered.apart(lambda: held(world, trial))  # noqa: B023 - called at once
            spent = time.monotonic() - began
            sys.stdout.write(
                f"{'ok' if is_well else 'not ok'} {world.kind} {trial.__name__} # {spent:.1f} s\n"
            )
            sys.stdout.flush()
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
