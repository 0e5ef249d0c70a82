"""A pull's progress out of the engine's messages, and how often it is told."""

from __future__ import annotations

from provider.adapters.runtime.images.observer import PullPhase, PullProgress
from provider.adapters.runtime.images.progress import Layers, Pace
from provider.domain.moment import Instant


def said(layers: Layers, status: str, layer: str = "", current: int = 0, total: int = 0) -> PullProgress:
    detail = {"current": current, "total": total} if total or current else {}
    layers.take({"status": status, "progressDetail": detail, **({"id": layer} if layer else {})})
    return layers.progress()


def test_two_layers_from_beginning_to_end() -> None:
    layers = Layers()
    said(layers, "Pulling from x", "1")
    assert said(layers, "Pulling fs layer", "a").total_bytes is None
    said(layers, "Pulling fs layer", "b")
    said(layers, "Already exists", "c")
    assert said(layers, "Downloading", "a", 10, 100).total_bytes is None
    half = said(layers, "Downloading", "b", 40, 100)
    assert half == PullProgress(phase=PullPhase.DOWNLOADING, done_bytes=50, total_bytes=200)
    assert layers.missing_bytes == 150
    said(layers, "Download complete", "a")
    unpacking = said(layers, "Download complete", "b")
    assert unpacking == PullProgress(phase=PullPhase.EXTRACTING, done_bytes=0, total_bytes=200)
    said(layers, "Extracting", "a", 60, 100)
    said(layers, "Pull complete", "a")
    ended = said(layers, "Pull complete", "b")
    assert ended == PullProgress(phase=PullPhase.EXTRACTING, done_bytes=200, total_bytes=200)
    assert (layers.transferred_bytes, layers.missing_bytes) == (200, 0)


def test_what_an_engine_never_says_does_no_harm() -> None:
    layers = Layers()
    for message in (
        {},
        {"id": 7, "status": "Downloading"},
        {"id": "a", "status": "x", "progressDetail": "y"},
    ):
        layers.take(message)
    layers.take({"id": "a", "status": "Downloading", "progressDetail": {"current": "?", "total": None}})
    assert layers.progress().total_bytes is None


def progress(done: int, total: int | None = 100) -> PullProgress:
    return PullProgress(phase=PullPhase.DOWNLOADING, done_bytes=done, total_bytes=total)


def test_progress_is_told_at_most_once_a_second_and_in_steps() -> None:
    pace = Pace()
    told = [
        pace.lets(progress(done), Instant(at))
        for done, at in ((0, 5_000), (50, 5_999), (50, 6_000), (54, 9_000), (55, 9_000), (60, 9_500))
    ]
    assert told == [True, False, True, False, True, False]


def test_a_new_phase_is_news() -> None:
    pace = Pace()
    assert pace.lets(progress(100), Instant(1_000))
    unpacking = PullProgress(phase=PullPhase.EXTRACTING, done_bytes=0, total_bytes=100)
    assert pace.lets(unpacking, Instant(2_000))
