"""Plain archives pass, however they are cut; what would come out larger than it went in does not."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.adapters.runtime.tar_check import TarCheck
from provider.domain.errors import Permanent

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def archive(
    form: int = tarfile.GNU_FORMAT,
    change: Callable[[tarfile.TarInfo], None] = lambda _: None,
    size: int = 700,
) -> bytes:
    """A folder, a file, links, a long name; ``change`` is what is not as it should be of the file."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("s", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(f"d/{name}")
            entry.type, entry.linkname = kind, "d/file"
            tar.addfile(entry)
        entry = tarfile.TarInfo("d/" + "long" * 20 + "/" + "file" * 20)
        entry.size = size
        change(entry)
        tar.addfile(entry, io.BytesIO(b"\0" * size))
    return made.getvalue()


def fed(text: bytes, at_once: int = 1 << 20) -> None:
    check = TarCheck()
    for place in range(0, len(text), at_once):
        check.feed(text[place : place + at_once])


@given(st.sampled_from(FORMATS), st.integers(0, 2_000), st.integers(1, 3_000))
def test_plain_archives_pass_however_they_are_cut(form: int, size: int, at_once: int) -> None:
    fed(archive(form, size=size), at_once)
    fed(archive(form, size=size) + b"what follows the end is nobody's", at_once)


def sparse(entry: tarfile.TarInfo) -> None:
    entry.type = tarfile.GNUTYPE_SPARSE


def sparse_by_pax(entry: tarfile.TarInfo) -> None:
    entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}


def sized_no_number(entry: tarfile.TarInfo) -> None:
    entry.pax_headers = {"size": "-1"}


def unheard_of(entry: tarfile.TarInfo) -> None:
    entry.type = b"M"


def folder_with_contents(entry: tarfile.TarInfo) -> None:
    entry.type = tarfile.DIRTYPE


@pytest.mark.parametrize(
    ("change", "form", "why"),
    [
        (sparse, tarfile.GNU_FORMAT, "a kind that"),
        (sparse_by_pax, tarfile.PAX_FORMAT, "sparse"),
        (sized_no_number, tarfile.PAX_FORMAT, "broken"),
        (unheard_of, tarfile.GNU_FORMAT, "a kind that"),
        (folder_with_contents, tarfile.GNU_FORMAT, "says that it has"),
    ],
)
def test_what_is_not_plain_is_refused(change: Callable[[tarfile.TarInfo], None], form: int, why: str) -> None:
    with pytest.raises(Permanent, match=f"only plain tar archives are unpacked: .*{why}"):
        fed(archive(form, change), 1)


@pytest.mark.parametrize("at_once", [1, 512, 100_000])
def test_compressed_ones_and_other_things_are_refused(at_once: int) -> None:
    for text in (gzip.compress(archive()), b"no archive" * 100):
        padded = text.ljust(512, b"x")
        with pytest.raises(Permanent, match="not one, or it is compressed"):
            fed(padded, at_once)


@pytest.mark.parametrize(
    "name", [b"\x1f\x8b\x08\x04", b"BZh9", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"\x5a\x2a\x4d\x18"]
)
def test_a_header_that_an_engine_would_take_for_a_compressed_archive_is_refused(name: bytes) -> None:
    block = bytearray(tarfile.TarInfo("x" * 20).tobuf(tarfile.USTAR_FORMAT))
    block[: len(name)] = name
    block[5] = 0 if name.endswith(b"XZ") else block[5]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with pytest.raises(Permanent, match="compressed"):
        fed(bytes(block))


def test_one_that_ends_within_a_header_is_refused_before_anybody_has_any_of_it() -> None:
    check = TarCheck()
    check.feed(gzip.compress(b"\0" * 100_000))  # shorter than a header
    assert not check.has_begun
    with pytest.raises(Permanent, match="compressed"):
        check.end()
    TarCheck().end()
    check = TarCheck()
    check.feed(archive())
    check.end()


@pytest.mark.parametrize("text", [b"99 a=b\n", b"a=b\n", b"6 a=bc", b"0 a=b\n"])
def test_broken_extended_headers_are_refused(text: bytes) -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, len(text)
    with pytest.raises(Permanent, match="extended header"):
        fed(entry.tobuf(tarfile.USTAR_FORMAT) + text.ljust(512, b"\0"))


def test_what_an_extended_header_says_of_a_files_size_holds() -> None:
    text = b"13 size=1024\n"
    pax, file = tarfile.TarInfo("x"), tarfile.TarInfo("file")
    pax.type, pax.size = tarfile.XHDTYPE, len(text)
    told = pax.tobuf(tarfile.USTAR_FORMAT) + text.ljust(512, b"\0") + file.tobuf(tarfile.USTAR_FORMAT)
    fed(told + b"x" * 1024 + file.tobuf(tarfile.USTAR_FORMAT))
    with pytest.raises(Permanent, match="not one"):
        fed(told + b"x" * 1536)

    file.type = tarfile.SYMTYPE
    with pytest.raises(Permanent, match="says that it has 1024 bytes"):
        fed(told[:1024] + file.tobuf(tarfile.USTAR_FORMAT))
    pax.type = tarfile.XGLTYPE
    with pytest.raises(Permanent, match="extended header is broken"):
        fed(pax.tobuf(tarfile.USTAR_FORMAT) + told[512:1024])


def test_what_two_readers_take_for_different_things_is_refused() -> None:
    pax, named, file = tarfile.TarInfo("x"), tarfile.TarInfo("L"), tarfile.TarInfo("file")
    pax.type, pax.size = tarfile.XHDTYPE, 13
    named.type, named.size = tarfile.GNUTYPE_LONGNAME, 3
    file.type, file.size = tarfile.AREGTYPE, 512
    header = file.tobuf(tarfile.USTAR_FORMAT)
    fed(header + bytes(512))
    with pytest.raises(
        Permanent, match="may be a file or a folder"
    ):  # a folder, to a reader that looks at its long name
        fed(named.tobuf(tarfile.USTAR_FORMAT) + b"a/\0".ljust(512, b"\0") + header)

    for odd in (b"\0 12\0".ljust(12, b"\0"), b"1_0".ljust(12, b"\0"), b"\xff" * 12):
        block = bytearray(header)
        block[124:136] = odd
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        with pytest.raises(Permanent, match=r"how large|not one"):
            fed(bytes(block))

    # The size that the first one tells is forgotten by the second.
    first = pax.tobuf(tarfile.USTAR_FORMAT) + b"13 size=1024\n".ljust(512, b"\0")
    second = pax.tobuf(tarfile.USTAR_FORMAT) + b"13 mtime=100\n".ljust(512, b"\0")
    file.type = tarfile.REGTYPE
    header = file.tobuf(tarfile.USTAR_FORMAT)
    fed(first + second + header + b"x" * 512 + header)


def test_extended_headers_are_held_up_to_a_bound() -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XGLTYPE, 1 << 30
    with pytest.raises(Permanent, match="1073741824 bytes"):
        fed(entry.tobuf(tarfile.USTAR_FORMAT))
