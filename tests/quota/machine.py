"""A machine whose kernel has project quotas, for the tests of these: emulated, booted for one program.

The host's kernel may have none. Debian's own kernel is booted by qemu without acceleration, from an archive
with nothing in it but what ``inside`` imports and calls: this interpreter, its modules, programs, their
libraries. Source of the archive's format: Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import importlib.util
import json
import marshal
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType

from provider.adapters.runtime import seccomp
from tests.quota import inside

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build" / "tools"
NEEDED = ("qemu-system-x86", "linux-image-cloud-amd64", "xfsprogs", "busybox-static")
MODULES = ("quota_tree", "quota_v2", "libcrc32c", "xfs", "brd")
PROGRAMS = ("mount", "umount", "rm", "chattr", "mkfs.ext4")
LOADER = "lib64/ld-linux-x86-64.so.2"
MEMORY_MIB = 768
DISK_MIB = 320
"""Of each of two disks in its memory: the least that XFS takes."""
LIMIT_S = 240

INIT = """#!/busybox sh
/busybox mount -t devtmpfs dev /dev
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
for each in {modules}; do /busybox insmod /modules/$each.ko; done
/busybox insmod /modules/brd.ko rd_nr=2 rd_size={disk_kib}
cd / && PATH=/programs PYTHONPATH={path} {python} -S -m {program}
/busybox poweroff -f
"""
STUB = "provider.adapters.runtime"
"""Its ``__init__`` imports the whole of it, an engine's client included."""
LISTING = f"""
import importlib.machinery, json, runpy, sys, types
stub = types.ModuleType({STUB!r})
stub.__path__ = [{str(ROOT / "provider/adapters/runtime")!r}]
sys.modules[{STUB!r}] = stub
import {inside.__name__}
found = [(name, module.__spec__.origin, hasattr(module, "__path__")) for name, module in sys.modules.items()
         if getattr(module, "__spec__", None) and module.__spec__.has_location and name != {STUB!r}]
print(json.dumps(found))
"""


def missing() -> tuple[str, ...]:
    """The tools that are not unpacked."""
    return tuple(each for each in NEEDED if not (TOOLS / each / ".unpacked").exists())


def run(work: Path) -> Iterator[str]:
    """What ``inside`` prints there, line by line. ``work`` takes some 60 MB."""
    archive = work / "machine.cpio"
    with archive.open("wb") as file:
        file.writelines(_archive(_files()))
    tools = TOOLS / "qemu-system-x86"
    libraries = ":".join(str(tools / each) for each in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"))
    data = [argument for each in ("qemu", "seabios") for argument in ("-L", str(tools / "usr/share" / each))]
    (kernel,) = (TOOLS / "linux-image-cloud-amd64" / "boot").glob("vmlinuz-*")
    command = [
        *(
            str(tools / "usr/bin/qemu-system-x86_64"),
            "-accel",
            "tcg",
            "-m",
            str(MEMORY_MIB),
            "-nic",
            "none",
            "-nographic",
            "-no-reboot",
            *data,
        ),
        *("-kernel", str(kernel), "-initrd", str(archive)),
        *("-append", "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable cryptomgr.notests"),
    ]
    environment = os.environ | {"LD_LIBRARY_PATH": libraries}
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        watch = threading.Timer(LIMIT_S, process.kill)
        watch.start()
        for line in process.stdout:
            yield line.rstrip()
        watch.cancel()


def _files() -> dict[str, bytes]:
    """By path in the machine, without the first slash."""
    python = Path(sys.executable).resolve()
    modules = json.loads(subprocess.check_output([sys.executable, "-c", LISTING], cwd=ROOT, text=True))
    found: dict[str, bytes] = {"busybox": (TOOLS / "busybox-static/bin/busybox").read_bytes()}
    binaries = {f"programs/{name}": Path(_program(name)) for name in PROGRAMS}
    binaries[str(python).lstrip("/")] = python
    for _, origin, _ in modules:
        place = Path(origin)
        if place.suffix == ".py":
            found[str(place.with_suffix(".pyc")).lstrip("/")] = _compiled(place)
        else:
            binaries[str(place).lstrip("/")] = place
    package = ROOT / "provider/adapters/runtime/__init__.pyc"
    found[str(package).lstrip("/")] = _code(compile("", STUB, "exec"))
    found[str(seccomp.SYSCALLS).lstrip("/")] = seccomp.SYSCALLS.read_bytes()
    found |= {name: place.read_bytes() for name, place in binaries.items()}
    for library in {each for place in binaries.values() for each in _libraries(place)}:
        found[str(library).lstrip("/")] = library.read_bytes()
    found |= _xfs() | _kernel_modules()
    settings = {
        "modules": " ".join(MODULES[:-1]),
        "disk_kib": DISK_MIB * 1024,
        "path": ":".join(
            dict.fromkeys(each for each in (str(ROOT), *sys.path) if each and Path(each).is_dir())
        ),
        "python": python,
        "program": inside.__name__,
    }
    found["init"] = INIT.format(**settings).encode()
    return found


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    assert found is not None, name
    return found


def _compiled(source: Path) -> bytes:
    return _code(compile(source.read_bytes(), str(source), "exec", dont_inherit=True))


def _code(code: CodeType) -> bytes:
    """As a file that stands for its source (PEP 552: not checked against it)."""
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)


def _libraries(binary: Path) -> Iterator[Path]:
    # A program that needs none is told so with status 1.
    told = subprocess.run(
        ["ldd", binary], check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for found in re.findall(r"(/\S+) \(0x", told.stdout):
        yield Path(found)


def _xfs() -> dict[str, bytes]:
    """``mkfs.xfs`` and the filter's library, with loaders of their own: they are of another Debian, maybe."""
    tools = TOOLS / "xfsprogs"
    found = {"xfs/mkfs": (tools / "sbin/mkfs.xfs").read_bytes(), "xfs/ld.so": (tools / LOADER).read_bytes()}
    folders = [str(tools / each) for each in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")]
    listing = [
        str(tools / LOADER),
        "--library-path",
        ":".join(folders),
        "--list",
        str(tools / "sbin/mkfs.xfs"),
    ]
    for each in re.findall(r"(/\S+) \(0x", subprocess.check_output(listing, text=True)):
        found[f"xfs/{Path(each).name}"] = Path(each).read_bytes()
    (library,) = (TOOLS / "qemu-system-x86").glob("usr/lib/x86_64-linux-gnu/libseccomp.so.2")
    found["libseccomp.so.2"] = library.read_bytes()
    return found


def _kernel_modules() -> dict[str, bytes]:
    kernel = TOOLS / "linux-image-cloud-amd64"
    found = {}
    for name in MODULES:
        (place,) = kernel.glob(f"lib/modules/*/kernel/**/{name}.ko")
        found[f"modules/{name}.ko"] = place.read_bytes()
    return found


def _archive(files: dict[str, bytes]) -> Iterable[bytes]:
    """In the form that the kernel unpacks (newc)."""
    folders = {str(each) for name in files for each in Path(name).parents} - {"."}
    for number, name in enumerate(sorted(folders | {"dev", "proc", "sys", "tmp"}), 1):
        yield from _entry(number, name, 0o40755, b"")
    yield from _entry(100_000, "dev/console", 0o20600, b"", device=(5, 1))
    for number, (name, data) in enumerate(files.items(), 200_000):
        yield from _entry(number, name, 0o100755, data)
    yield from _entry(0, "TRAILER!!!", 0, b"")


def _entry(
    number: int, name: str, mode: int, data: bytes, device: tuple[int, int] = (0, 0)
) -> Iterator[bytes]:
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    head = b"070701" + b"".join(b"%08x" % each for each in fields) + path
    yield head + bytes(-len(head) % 4)
    yield data + bytes(-len(data) % 4)
