"""A tenant's files through the parser, against PyYAML's C loader alone on the same files in the same run.

Ours does all of it: parse, validate, manifest, hash. Rounds alternate, so that both see the same machine.
Without the corpus of strangers' files the examples of this project are taken, and the row says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import yaml

from provider import sdl

CORPUS = Path("../shared/sdl-corpus/awesome")
EXAMPLES = Path("manifests")
ROUNDS = 15
MOST_RATIO = 3.0
MOST_GROWTH = 1.5
SMALL, LARGE = 10, 50
"""Services; 50 at 20 placements is the most that a market takes."""


def rows() -> list[dict[str, object]]:
    """The whole folder, and how the cost of one service grows from a small file to the largest."""
    return [_folder(), _growth()]


def _folder() -> dict[str, object]:
    folder = CORPUS if CORPUS.is_dir() else EXAMPLES
    files = [path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".yaml", ".yml")]
    ours, baseline = _best(lambda: _each(_derive, files), lambda: _each(_load, files))
    return {
        "name": f"sdl: parse, validate, manifest, hash of {len(files)} {folder.name} files / C loader alone",
        "ours": round(ours * 1000, 2),
        "baseline": round(baseline * 1000, 2),
        "unit": "ms",
        "ratio": round(ours / baseline, 2),
        "target": MOST_RATIO,
    }


def _growth() -> dict[str, object]:
    small, large = (services_file(count).encode() for count in (SMALL, LARGE))
    ours, baseline = _best(lambda: _derive(large), lambda: _derive(small))
    per_service, before = ours / LARGE, baseline / SMALL
    return {
        "name": f"sdl: cost of a service among {LARGE} at 20 placements / among {SMALL}",
        "ours": round(per_service * 1000, 4),
        "baseline": round(before * 1000, 4),
        "unit": "ms",
        "ratio": round(per_service / before, 2),
        "target": MOST_GROWTH,
    }


def services_file(count: int) -> str:
    """An SDL of ``count`` services, spread over at most 20 placements."""
    places = min(20, count)
    services = "".join(
        f"  s{n}:\n    image: nginx:1\n    env: [A={n}]\n    expose:\n"
        f"      - port: {1000 + n}\n        to:\n          - global: true\n"
        for n in range(count)
    )
    placements = "".join(
        f"    p{n}:\n      pricing:\n        c:\n          denom: uact\n          amount: 100\n"
        for n in range(places)
    )
    deployment = "".join(
        f"  s{n}:\n    p{n % places}:\n      profile: c\n      count: 1\n" for n in range(count)
    )
    return (
        f'version: "2.0"\nservices:\n{services}profiles:\n  compute:\n    c:\n      resources:\n'
        "        cpu: {units: 1}\n        memory: {size: 1Gi}\n        storage: {size: 1Gi}\n"
        f"  placement:\n{placements}deployment:\n{deployment}"
    )


def _derive(data: bytes) -> None:
    try:
        manifest = sdl.read(data).manifest
    except sdl.SdlInvalid:
        return
    sdl.manifest_json(manifest)
    sdl.manifest_hash(manifest)


def _load(data: bytes) -> None:
    try:
        yaml.load(data, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return


def _each(work: Callable[[bytes], None], files: list[bytes]) -> None:
    for data in files:
        work(data)


def _best(ours: Callable[[], None], baseline: Callable[[], None]) -> tuple[float, float]:
    """Seconds of the fastest round of each: what the machine can do when nothing else runs."""
    fastest = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for index, work in enumerate((ours, baseline)):
            start = time.perf_counter()
            work()
            fastest[index] = min(fastest[index], time.perf_counter() - start)
    return fastest[0], fastest[1]
