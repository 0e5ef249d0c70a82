"""Notes on containers that were ended because of what they wrote, kept until the lease ends. Blocks.

One small file a replica in the lease's folder, so that the reason outlives the agent. Invariant: a note is
written before its container is ended, and counts for that container alone.
"""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".evicted"


def note(folder: Path, service: str, replica: int, container: str, why: str) -> None:
    """On the disk when this returns."""
    for each in (*reversed(folder.parents), folder):
        each.mkdir(mode=0o700, exist_ok=True)
    (folder / f"{service}-{replica}{SUFFIX}").write_text(f"{container}\n{why}\n")


def remembered(root: Path) -> dict[str, str]:
    """Of every lease below ``root``: why a container was ended, by its id."""
    noted = {}
    for place in root.glob(f"*/*{SUFFIX}"):
        container, _, why = place.read_text().partition("\n")
        noted[container] = why.strip()
    return noted


def forget(folder: Path) -> None:
    """All of a lease's."""
    for each in folder.glob(f"*{SUFFIX}"):
        each.unlink(missing_ok=True)
