"""The manifest parsers against atheris, for FUZZ_SECONDS (60): ``python -m tests.fuzz``.

Anything but the two documented exceptions, or 5 s for one input, is a finding; libFuzzer writes the
input to build/fuzz/ and exits with an error. What was found becomes a case in tests/unit/sdl.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

atheris: Any = importlib.import_module("atheris")  # installed by `make fuzz` alone; it ships no types

with atheris.instrument_imports(include=["provider.sdl"]):
    from provider import sdl

SEEDS = (Path("manifests"), Path("../shared/sdl-corpus"))
WORK = Path("build/fuzz")
SLOWEST_S = 5
LONGEST = 8192


def words() -> Iterator[str]:
    """Every name of the language, so that the fuzzer need not guess them."""
    from provider.sdl.model import Listing, Names, Section, Shape
    from provider.sdl.model_profiles import DOCUMENT

    def walk(shape: Shape) -> Iterator[str]:
        if isinstance(shape, Section):
            for each in shape.fields:
                yield each.name
                yield from walk(each.shape)
        elif isinstance(shape, Listing):
            yield from walk(shape.item)
        elif isinstance(shape, Names):
            yield from walk(shape.value)

    yield from walk(DOCUMENT)
    yield from ("<<: *a", "&a", "*a", "!!str", "${A}", "512Mi", "0.5", "1e9", "uact", "|\\x0a", "---\\x0a")


def one(data: bytes) -> None:
    """All entrances; the first byte chooses one."""
    kind, rest = data[:1], data[1:]
    try:
        if kind == b"m":
            manifest = sdl.manifest_from_json(rest)
            assert sdl.hash_of_json(rest) == sdl.manifest_hash(manifest), "the hash is that of what came"
        elif kind == b"g":
            group = sdl.group_from_json(rest)
            assert sdl.group_from_json(sdl.group_spec_json(group)) == group, "a group survives its JSON"
        else:
            read(rest, lenient=kind == b"l")
    except (sdl.SdlInvalid, sdl.JsonInvalid):
        return


def read(data: bytes, *, lenient: bool) -> None:
    variables = {"A": "value"} if lenient else None
    parsed = sdl.read(data, lenient=lenient, substitution=sdl.Substitution(variables=variables))
    as_json = sdl.manifest_json(parsed.manifest)
    assert sdl.hash_of_json(as_json) == sdl.manifest_hash(parsed.manifest), "one hash for one manifest"
    if not lenient:
        assert sdl.manifest_json(sdl.manifest_from_json(as_json)) == as_json, "a provider takes what we send"
    assert not sdl.cross_check(parsed.manifest, parsed.groups), "a file agrees with itself"
    assert sdl.group_specs_from_json(sdl.group_specs_json(parsed.groups)) == parsed.groups


def prepare(folder: Path) -> list[str]:
    """Seeds and dictionary under ``folder``; libFuzzer's arguments."""
    seeds = folder / "seeds"
    found = folder / "corpus"
    for each in (seeds, found):
        each.mkdir(parents=True, exist_ok=True)
    number = 0
    for path in (path for place in SEEDS for path in sorted(place.rglob("*")) if path.is_file()):
        kind = {".yaml": b"s", ".yml": b"l", ".json": b"m"}.get(path.suffix)
        if kind is not None and path.stat().st_size < LONGEST:
            (seeds / str(number)).write_bytes(kind + path.read_bytes())
            number += 1
    dictionary = folder / "words"
    dictionary.write_text("".join(f'"{word}"\n' for word in sorted(set(words()))), encoding="utf-8")
    seconds = os.environ.get("FUZZ_SECONDS", "60")
    return [
        f"-max_total_time={seconds}",
        f"-timeout={SLOWEST_S}",
        f"-max_len={LONGEST}",
        f"-dict={dictionary}",
        f"-artifact_prefix={folder}/",
        "-print_final_stats=1",
        str(found),
        str(seeds),
    ]


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *prepare(WORK), *sys.argv[1:]], one)
    atheris.Fuzz()
