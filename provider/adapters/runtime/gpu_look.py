"""A program of its own: opens device nodes as the containers' own processes could. Run by ``gpu_sight``.

For each container it joins the cgroup that decides about devices, makes the container's root its own, and
opens nodes; then it comes back for the next. JSON comes in on standard input and goes out on standard output.

Runs as root among a tenant's files. Invariants: nothing is imported, loaded or executed from within them (the
import system is emptied first), no link is followed out of them, nothing that a tenant can put in a node's
place makes it wait, and what it reads is bounded. It imports nothing of this package: it is started without.
"""

from __future__ import annotations

import json
import os
import stat
import sys

ENTRIES_MOST = 4096
"""Of a directory that a tenant may have filled."""
OPEN_FLAGS = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
ABSENT = "absent"
"""Nothing there, or something that is no character device: a tenant can bring that about, no cgroup can."""


def main() -> None:
    """Answers for all containers that standard input asks about, in its order."""
    asked = json.load(sys.stdin)
    sys.path.clear()
    sys.meta_path.clear()
    home = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    told: list[dict[str, object]] = []
    for each in asked:
        try:
            join(each["cgroup"])
            told.append({"nodes": inside(home, each["root"], each["nodes"], each["listed"])})
        except OSError as error:
            told.append({"problem": os.strerror(error.errno or 0)})
    sys.stdout.write(json.dumps(told))


def join(procs: str) -> None:
    """Move this process; 0 names the writer."""
    group = os.open(procs, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(group, b"0")
    finally:
        os.close(group)


def inside(home: int, root: str, nodes: list[str], listed: list[list[str]]) -> dict[str, int | str]:
    """What comes of each of ``nodes``, and of what is found in ``listed``: places and beginnings of names."""
    os.chroot(root)
    try:
        os.chdir("/")
        found = {path: 0 for place, prefix in listed for path in entries(place, prefix)}
        return {path: opened(path) for path in (*nodes, *found)}
    finally:
        os.fchdir(home)
        os.chroot(".")


def entries(place: str, prefix: str) -> list[str]:
    """Paths in ``place`` whose name is ``prefix`` and digits; of an empty ``prefix``, all."""
    found: list[str] = []
    try:
        with os.scandir(place) as listing:
            for entry in listing:
                if len(found) == ENTRIES_MOST:
                    break
                if not prefix or (entry.name.startswith(prefix) and entry.name[len(prefix) :].isdigit()):
                    found.append(f"{place}/{entry.name}")
    except OSError:
        return found
    return found


def opened(path: str) -> int | str:
    """0 when it opens, ``ABSENT``, or the error's number."""
    try:
        if not stat.S_ISCHR(os.lstat(path).st_mode):
            return ABSENT
        node = os.open(path, OPEN_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except OSError as error:
        return error.errno or 0
    os.close(node)
    return 0


if __name__ == "__main__":
    main()
