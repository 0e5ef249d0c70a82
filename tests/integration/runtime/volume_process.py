"""A process that makes, mounts and removes volumes until it is killed: what the tests of that kill.

Its arguments: the folder of the records, that of the files.
"""

from __future__ import annotations

import sys
from pathlib import Path

from provider.adapters.runtime.storage import attaching, files
from provider.adapters.runtime.storage.records import Records, Wanted
from provider.domain.ids import LeaseId
from provider.domain.resources import MIB

LEASE = LeaseId.parse("alice/1/1/1/p1")


def main() -> None:
    records = Records(Path(sys.argv[1]))
    wanted = [
        Wanted(service="web", replica=number, name="data", size_bytes=8 * MIB, folder=Path(sys.argv[2]))
        for number in range(2)
    ]
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    while True:
        made = [files.make(records, LEASE, each) for each in wanted]
        for record in made:
            attaching.attach(records, record)
        for record in made:
            attaching.detach(records, record)
            files.erase(records, record)


if __name__ == "__main__":
    main()
