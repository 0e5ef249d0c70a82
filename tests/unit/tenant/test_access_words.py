"""What tenants type and what they see: places, times, names before lines, modes of files."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from provider.app.cli.targets import Place, place, service_and_replica, since_ns
from provider.app.copying import packed, unpacked
from provider.app.log_printing import LogPrinter, shown
from provider.domain.errors import ConfigError, Permanent
from provider.domain.moment import Instant
from provider.domain.workload import LogBatch

NOW = Instant(1_800_000_000_000)


@pytest.mark.parametrize(
    ("text", "seconds_before"), [("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("1.5s", 1.5), ("90s", 90)]
)
def test_since_counts_back_from_now(text: str, seconds_before: float) -> None:
    assert since_ns(text, NOW) == NOW * 1_000_000 - int(seconds_before * 1_000_000_000)


@pytest.mark.parametrize(
    ("text", "at_ns"),
    [
        ("2026-11-22T17:00:00Z", 1_795_366_800_000_000_000),
        ("2026-11-22T17:00:00.25+00:00", 1_795_366_800_250_000_000),
        ("2026-11-22", 1_795_305_600_000_000_000),
        ("1795366800", 1_795_366_800_000_000_000),
    ],
)
def test_since_may_be_an_instant(text: str, at_ns: int) -> None:
    assert since_ns(text, NOW) == at_ns


@pytest.mark.parametrize("text", ["", "soon", "10", "m", "10 m"])
def test_what_is_no_time_is_said_to_be_none(text: str) -> None:
    if text == "10":
        assert since_ns(text, NOW) == 10_000_000_000
        return
    with pytest.raises(ConfigError):
        since_ns(text, NOW)


def test_services_and_places() -> None:
    assert service_and_replica("") == ("", None)
    assert service_and_replica("web") == ("web", None)
    assert service_and_replica("web/2") == ("web", 2)
    assert place("7/web:/a b:c") == Place(dseq=7, service="web", replica=0, path="/a b:c")
    assert place("7/web/1:/") == Place(dseq=7, service="web", replica=1, path="/")
    assert [place(text) for text in ("./7/web:/x", "7/web", "web:/x", "-", "/7/web:/x")] == [None] * 5
    for wrong in ("web/", "/0", "web/x", "web/-1"):
        with pytest.raises(ConfigError):
            service_and_replica(wrong)
    with pytest.raises(ConfigError, match="absolute"):
        place("7/web:data")


class Screen(io.BytesIO):
    def isatty(self) -> bool:
        return True


BATCH = LogBatch(service="web", replica=1, is_stderr=False, at_ns=(1, 2_000_000_000), text=b"one\n\xfftwo")


def test_lines_are_passed_on_as_they_are_and_what_is_before_them_is_ours() -> None:
    out, err = io.BytesIO(), io.BytesIO()
    LogPrinter(out=out, err=err).print(BATCH)
    assert (out.getvalue(), err.getvalue()) == (b"one\n\xfftwo\n", b"")

    out = io.BytesIO()
    LogPrinter(out=out, err=err, with_names=True, with_times=True).print(BATCH)
    assert out.getvalue() == (
        b"[web/1] 1970-01-01T00:00:00.000000001Z one\n[web/1] 1970-01-01T00:00:02.000000000Z \xfftwo\n"
    )
    assert shown(1_795_366_800_123_456_789) == "2026-11-22T17:00:00.123456789Z"


def test_colours_are_for_terminals_of_those_who_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen()
    LogPrinter(out=screen, err=screen, with_names=True).print(BATCH)
    assert screen.getvalue().startswith(b"\033[")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Screen()
    LogPrinter(out=plain, err=plain, with_names=True).print(BATCH)
    assert plain.getvalue().startswith(b"[web/1] one\n")


def unpack(data: bytes, folder: Path, name: str | None = None) -> int:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    return asyncio.run(unpacked(pieces(), folder, name))


def archive(member: tarfile.TarInfo, data: bytes = b"") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return made.getvalue()


def test_a_tree_is_packed_and_unpacked_under_another_name(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "sub" / "file").write_bytes(os.urandom(300_000))
    (tree / "sub" / "file").chmod(0o775)
    os.link(tree / "sub" / "file", tree / "again")
    (tree / "link").symlink_to("sub/file")

    async def all_of_it() -> bytes:
        return b"".join([piece async for piece in packed(tree, "tree")])

    data = asyncio.run(all_of_it())
    assert unpack(data, tmp_path, "other") == len(data)

    other = tmp_path / "other"
    assert (other / "sub" / "file").read_bytes() == (tree / "sub" / "file").read_bytes()
    assert (other / "sub" / "file").stat().st_mode & 0o777 == 0o775
    assert (other / "again").samefile(other / "sub" / "file")
    assert (other / "link").readlink() == Path("sub/file")


def evil(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, 0o4777
    return member


@pytest.mark.parametrize(
    "member",
    [
        evil("../outside"),
        evil("x/../../outside"),
        evil("link", tarfile.SYMTYPE, "../../outside"),
        evil("link", tarfile.SYMTYPE, "/etc/passwd"),
        evil("link", tarfile.LNKTYPE, "../outside"),
        evil("null", tarfile.CHRTYPE),
        evil("pipe", tarfile.FIFOTYPE),
    ],
)
def test_a_providers_archive_leaves_its_folder_by_no_way(member: tarfile.TarInfo, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(Permanent, match="cannot be unpacked"):
        unpack(archive(member, b"x" if member.isfile() else b""), folder)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_file_is_never_more_than_its_owner_could_make_it(tmp_path: Path) -> None:
    unpack(archive(evil("file"), b"x"), tmp_path)
    assert (tmp_path / "file").stat().st_mode & 0o7777 == 0o777


@pytest.mark.parametrize("cut", [700, 100])
def test_an_archive_that_breaks_off_is_an_error(tmp_path: Path, cut: int) -> None:
    with pytest.raises(Permanent, match="cannot be unpacked"):
        unpack(archive(evil("file"), b"x" * 5000)[:cut], tmp_path)
