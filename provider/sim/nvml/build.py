"""Compiles the simulated library, once for each version of its source."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from provider.domain.errors import ConfigError

_HERE = Path(__file__).parent
PARTS = tuple(sorted(_HERE.glob("nvml_*.c")))
SOURCES = (*PARTS, *sorted(_HERE.glob("nvml_*.h")))

_FLAGS = (
    *("-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared", "-fvisibility=hidden"),
    # nvidia-ml-py asks the linker for this name, and gets ours if it is loaded already
    *("-Wl,-soname,libnvidia-ml.so.1", "-Wl,-z,defs"),
)


def build_library(directory: Path, *, without: tuple[str, ...] = ()) -> Path:
    """The library below ``directory``, compiled with gcc unless it is there. ``ConfigError`` without gcc.

    ``without`` names symbols that it shall lack, as a driver older than the bindings does.
    """
    recipe = [*_FLAGS, *(f"-D{symbol}=absent_{symbol}" for symbol in without)]
    text = b"".join(source.read_bytes() for source in SOURCES) + repr(recipe).encode()
    digest = hashlib.sha256(text).hexdigest()[:16]
    built = directory / f"nvml-sim-{digest}.so"
    if built.exists():
        return built
    if shutil.which("gcc") is None:
        raise ConfigError("the simulated NVML library needs gcc", remedy="install gcc")
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        fresh = Path(scratch) / "libnvidia-ml.so.1"
        subprocess.run(["gcc", *recipe, "-o", str(fresh), *map(str, PARTS)], check=True)
        os.replace(fresh, built)  # noqa: PTH105 - atomic, and two test runs may build at once
    return built
