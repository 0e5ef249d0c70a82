"""Which project a volume's directory belongs to: ids are taken and given back here. Blocks.

The file system's own quotas say which ids are taken, by us or by anybody else; nothing is kept beside them.
Invariants: an id is taken under a lock on the whole file system, and when the lock is given back a directory
of the volume is under it; one that has limits or files, whosesoever, is taken by nobody.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from provider.adapters.runtime.storage import quota
from provider.adapters.runtime.storage.quota import Quota
from provider.domain.errors import Temporary

EMPTY_TRIES = 100
EMPTY_PAUSE_S = 0.05
"""XFS takes removed files off their quota in the background."""


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Alone with the ids of the file system that ``folder`` is on; a descriptor for ``quota``.

    The lock is on the topmost directory of it that is seen from here, so that daemons with folders of their
    own on one disk wait for each other. It ends with the process that has it.
    """
    top = folder.resolve()
    while top != top.parent and top.parent.stat().st_dev == top.stat().st_dev:
        top = top.parent
    with quota.opened(top) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor


def unused(descriptor: int, ids: range) -> int:
    """The first of ``ids`` that nobody uses; only while ``locked``."""
    for each in ids:
        if quota.read(descriptor, each).is_free:
            return each
    raise Temporary(
        f"all of the {len(ids)} project ids of storage.project_ids are in use on this file system",
        remedy="name a larger range",
    )


def release(folder: Path, project: int) -> bool:
    """Nobody's any more, when no file is left under it. Whether it is; else somebody has it.

    Its limits go, so that a later volume can have it.
    """
    for _ in range(EMPTY_TRIES):
        with locked(folder) as descriptor:
            if not quota.read(descriptor, project).files:
                quota.write(descriptor, project, Quota())
                return True
            os.fstatvfs(descriptor)  # XFS begins with what waits to be removed
        time.sleep(EMPTY_PAUSE_S)
    return False
