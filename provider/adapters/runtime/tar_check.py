"""Whether what a tenant sends to be unpacked is a plain tar archive, looked at as it passes.

The engine unpacks compressed archives and sparse files too, into much more than was sent: a tenant's quota is
measured, where the engine cannot hold it, and that takes a while. Here nothing comes out larger than it went
in. Where two readers could take an archive for different things it is refused, or the other one could be
shown what this one skips.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator

from provider.domain.errors import Permanent
from provider.domain.resources import MIB

BLOCK = tarfile.BLOCKSIZE
PAX_MOST = MIB
"""Of extended headers: as much as the engine takes."""
SIZE_DIGITS = 18
NOT_ONE = "it is not one, or it is compressed"
SIZE = slice(124, 136)
"""Where a header has it; octal, or binary after a byte of 0x80."""
_SIZE = re.compile(rb" *[0-7]+[ \0]*|\x80.{11}", re.DOTALL)
_FILES = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE})
_BARE = frozenset(
    {
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.DIRTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
    }
)
"""Without contents. A device is shut by the container's own rules."""
_PAX = frozenset({tarfile.XHDTYPE, tarfile.XGLTYPE})
_NAMES = frozenset({tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK})


_COMPRESSED = re.compile(
    rb"\x1f\x8b\x08|BZh|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL
)
"""How what the engine would decompress begins: gzip, bzip2, xz, zstd. A header may begin so as well, with its
file's name, and be both."""


class TarCheck:
    """Feed it the archive from its beginning; ``Permanent`` at the first thing that is not plain."""

    def __init__(self) -> None:
        self._held = bytearray()
        """Of a block, or of extended headers, that is not whole yet."""
        self._wanted = BLOCK
        """Bytes until ``_held`` is whole."""
        self._skips = 0
        """Bytes of contents that are still to come."""
        self._pax: tarfile.TarInfo | None = None
        """What was read last, where that is extended headers, whose text comes now."""
        self._size: int | None = None
        """Of the next file, as an extended header has it: the only way for one from 8 GiB in some formats."""
        self._is_extended = False
        """Whether something before the next entry says more of it."""
        self._is_over = False
        self.has_begun = False
        """Whether its first block is seen: before that nobody should have any of it."""

    def end(self) -> None:
        """``Permanent`` where it ends within a header."""
        if self._held and not self._is_over:
            raise _refused(NOT_ONE)

    def feed(self, piece: bytes) -> None:
        """The next bytes, however they are cut."""
        view = memoryview(piece)
        while view and not self._is_over:
            if self._skips:
                passed = min(self._skips, len(view))
                self._skips -= passed
            else:
                passed = min(self._wanted - len(self._held), len(view))
                self._held += view[:passed]
                if len(self._held) == self._wanted:
                    whole = bytes(self._held)
                    self._held.clear()
                    self._wanted = BLOCK
                    self._read(whole)
            view = view[passed:]

    def _read(self, whole: bytes) -> None:
        if not self.has_begun and _COMPRESSED.match(whole):
            raise _refused(NOT_ONE)
        self.has_begun = True
        if self._pax is not None:
            self._read_pax(self._pax, whole)
            self._pax = None
            return
        if not any(whole):
            self._is_over = True
            return
        try:
            header = tarfile.TarInfo.frombuf(whole, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise _refused(NOT_ONE) from error
        if header.size < 0 or not _SIZE.fullmatch(whole[SIZE]):
            raise _refused(f"{header.name[:100]!r} does not say how large it is")
        if header.type in _PAX:
            # It takes the place of what another one said.
            self._size, self._is_extended = None, header.type == tarfile.XHDTYPE
            if header.size > PAX_MOST:
                raise _refused(f"extended headers of {header.size} bytes")
            if header.size:
                self._pax, self._wanted = header, _blocks(header.size)
        elif header.type in _NAMES:
            self._is_extended = True
            self._skips = _blocks(header.size)
        else:
            self._read_entry(header)

    def _read_entry(self, header: tarfile.TarInfo) -> None:
        size = header.size if self._size is None else self._size
        is_extended, self._size, self._is_extended = self._is_extended, None, False
        if header.type == tarfile.AREGTYPE and size and is_extended:
            # By its name alone it is a file or a folder, and the name is elsewhere.
            raise _refused(f"{header.name[:100]!r} may be a file or a folder")
        if header.type in _FILES:
            self._skips = _blocks(size)
        elif header.type not in _BARE:
            raise _refused(f"{header.name[:100]!r} is of a kind that is not unpacked")
        elif size:
            raise _refused(f"{header.name[:100]!r} says that it has {size} bytes")

    def _read_pax(self, header: tarfile.TarInfo, whole: bytes) -> None:
        for key, value in _records(whole[: header.size]):
            if key.startswith(b"GNU.sparse."):
                raise _refused("a file in it is sparse")
            if key == b"size":
                if header.type == tarfile.XGLTYPE or not value.isdigit() or len(value) > SIZE_DIGITS:
                    raise _refused("an extended header is broken")
                self._size = int(value)


def _records(text: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each is ``<length> <key>=<value>\n`` (pax(1)); the length counts all of it."""
    while text:
        digits, _, _ = text.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) <= SIZE_DIGITS else 0
        record = text[len(digits) + 1 : length]
        key, equals, value = record.partition(b"=")
        if not equals or length > len(text) or not record.endswith(b"\n"):
            raise _refused("an extended header is broken")
        yield key, value[:-1]
        text = text[length:]


def _blocks(size: int) -> int:
    """Bytes that ``size`` bytes take."""
    return -(-size // BLOCK) * BLOCK


def _refused(why: str) -> Permanent:
    return Permanent(
        f"only plain tar archives are unpacked: {why}", remedy="tenant cp, or tar --create without --sparse"
    )
