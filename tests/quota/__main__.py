"""``python -m tests.quota``: boot the machine, show what it says; 1 where a trial failed or is missing."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.quota import machine


def main() -> int:
    if missing := machine.missing():
        sys.stderr.write(
            f"not unpacked: {' '.join(missing)}\n  Try: scripts/unpack-tools.sh {' '.join(missing)}\n"
        )
        return 1
    with tempfile.TemporaryDirectory() as work:
        told = []
        for line in machine.run(Path(work)):
            told.append(line)
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
    well = [each for each in told if each.startswith("ok ")]
    failed = [each for each in told if each.startswith("not ok ")]
    sys.stdout.write(f"{len(well)} held, {len(failed)} failed\n")
    return 0 if "done" in told and well and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
