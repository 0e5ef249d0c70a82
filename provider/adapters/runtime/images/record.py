"""What is remembered of images, in a SQLite file of its own: use, provenance, names, pins.

The engine knows none of it: not when an image was last used, not whether it took a login to get it. Of
logins there is nothing here. Losing the file costs pulls and questions to registries, never a lease's images
that are in use: the engine does not remove those.

Invariant: a pin that was read back once is the same until its lease is forgotten, over kill -9 too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provider.domain.errors import ConfigError, Temporary
from provider.domain.ids import LeaseId
from provider.domain.moment import Instant

VERSION = 1
PINS_HELD = 16
"""Of a lease's pins, the newest so many hold their image here: a tenant who updates a thousand times fills
no disk. An older one that is still used is pulled again by its digest."""
_SCHEMA = """
CREATE TABLE image (
    id        TEXT PRIMARY KEY,   -- the engine's
    used_at   INTEGER NOT NULL,   -- milliseconds
    is_ours   INTEGER NOT NULL,   -- whether we pulled it: else it is never removed
    is_kept   INTEGER NOT NULL DEFAULT 0 -- the operator wants it here
) STRICT, WITHOUT ROWID;
CREATE TABLE source (
    repository TEXT NOT NULL,     -- docker.io/library/redis
    digest     TEXT NOT NULL,
    image      TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    is_public  INTEGER NOT NULL,  -- whether somebody without a login has got it there
    PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE name (
    repository TEXT NOT NULL,
    tag        TEXT NOT NULL,
    digest     TEXT NOT NULL,     -- what it stood for when it was last asked
    PRIMARY KEY (repository, tag)
) STRICT, WITHOUT ROWID;
CREATE TABLE engine_name (
    name  TEXT PRIMARY KEY,       -- under which the engine has it because of us
    image TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE TABLE pin (
    lease      TEXT NOT NULL,
    generation INTEGER NOT NULL,
    wanted     TEXT NOT NULL,     -- as the manifest says it
    image      TEXT NOT NULL,
    digest     TEXT NOT NULL,     -- empty for an image of this machine alone
    PRIMARY KEY (lease, generation, wanted)
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An image that was got from a repository."""

    image: str
    digest: str
    is_public: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What a name in a manifest stands for, as long as that manifest runs."""

    image: str
    digest: str


class Record:
    """One file, opened at the first use. Used by one thread."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- images

    def put(self, image: str, source: tuple[str, str] | None, at: Instant, *, is_public: bool) -> None:
        """It is here, got as ``source`` (repository, digest). Once public, always public."""
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO image (id, used_at, is_ours) VALUES (?, ?, 0) "
                "ON CONFLICT (id) DO UPDATE SET used_at = max(used_at, excluded.used_at)",
                (image, at),
            )
            if source is not None:
                connection.execute(
                    "INSERT INTO source VALUES (?, ?, ?, ?) ON CONFLICT (repository, digest) DO UPDATE "
                    "SET image = excluded.image, is_public = max(is_public, excluded.is_public)",
                    (*source, image, int(is_public)),
                )

    def named(self, image: str, *names: str) -> None:
        """The engine has it under ``names`` because we pulled it."""
        with self._writing() as connection:
            connection.execute("UPDATE image SET is_ours = 1 WHERE id = ?", (image,))
            connection.executemany(
                "INSERT OR REPLACE INTO engine_name VALUES (?, ?)", [(each, image) for each in names]
            )

    def stands_for(self, repository: str, tag: str, digest: str) -> None:
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO name VALUES (?, ?, ?)", (repository, tag, digest))

    def used(self, image: str, at: Instant) -> None:
        with self._writing() as connection:
            connection.execute("UPDATE image SET used_at = max(used_at, ?) WHERE id = ?", (at, image))

    def source(self, repository: str, version: str) -> Source | None:
        """What ``version``, a tag or a digest, of the repository was when it was last got."""
        row = self._one(
            "SELECT source.image, source.digest, source.is_public FROM source "
            "LEFT JOIN name ON name.repository = source.repository AND name.digest = source.digest "
            "AND name.tag = ?2 WHERE source.repository = ?1 AND (source.digest = ?2 OR name.tag IS NOT NULL)",
            (repository, version),
        )
        return None if row is None else Source(image=row[0], digest=row[1], is_public=bool(row[2]))

    def keep(self, images: frozenset[str]) -> None:
        """These, and no others, are what the operator wants here."""
        with self._writing() as connection:
            connection.execute("UPDATE image SET is_kept = 0")
            connection.executemany("UPDATE image SET is_kept = 1 WHERE id = ?", [(each,) for each in images])

    def idle(self, before: Instant) -> tuple[str, ...]:
        """Images of ours, neither held nor kept, last used before ``before``, the longest idle first."""
        return tuple(
            str(image)
            for (image,) in self._open().execute(
                "SELECT id FROM image WHERE is_ours AND NOT is_kept AND used_at < ? "
                "AND id NOT IN (SELECT image FROM (SELECT image, row_number() OVER "
                "(PARTITION BY lease ORDER BY generation DESC) AS age FROM pin) WHERE age <= ?) "
                "ORDER BY used_at, id",
                (before, PINS_HELD),
            )
        )

    def engine_names(self, image: str) -> tuple[str, ...]:
        """Under which the engine has it because of us, tags before digests."""
        rows = self._open().execute("SELECT name FROM engine_name WHERE image = ?", (image,))
        return tuple(sorted((str(name) for (name,) in rows), key=lambda name: ("@" in name, name)))

    def is_ours(self, name: str) -> bool:
        """Whether the engine's name ``name`` is there because of us."""
        return self._one("SELECT 1 FROM engine_name WHERE name = ?", (name,)) is not None

    def all(self) -> frozenset[str]:
        return frozenset(str(image) for (image,) in self._open().execute("SELECT id FROM image"))

    def gone(self, image: str) -> None:
        """It is not on the engine any more."""
        with self._writing() as connection:
            connection.execute("DELETE FROM image WHERE id = ?", (image,))

    # --- pins

    def pin(self, lease: LeaseId, generation: int, wanted: str) -> Pin | None:
        row = self._one(
            "SELECT image, digest FROM pin WHERE lease = ? AND generation = ? AND wanted = ?",
            (str(lease), generation, wanted),
        )
        return None if row is None else Pin(image=row[0], digest=row[1])

    def put_pin(self, lease: LeaseId, generation: int, wanted: str, pin: Pin) -> Pin:
        """Pin it; the pin that holds, which is an earlier one if there was one."""
        with self._writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO pin VALUES (?, ?, ?, ?, ?)",
                (str(lease), generation, wanted, pin.image, pin.digest),
            )
        return self.pin(lease, generation, wanted) or pin

    def drop_pins(self, lease: LeaseId) -> None:
        """Of all the lease's generations. Fine when there are none."""
        with self._writing() as connection:
            connection.execute("DELETE FROM pin WHERE lease = ?", (str(lease),))

    # --- the file

    def _one(self, query: str, values: tuple[object, ...]) -> tuple[str, ...] | None:
        with _mapped(self._path):
            row: tuple[str, ...] | None = self._open().execute(query, values).fetchone()
        return row

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with _mapped(self._path):
            connection = self._open()
            with connection:
                yield connection

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            with _mapped(self._path):
                self._connection = _connect(self._path)
        return self._connection


def _connect(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
    connection = sqlite3.connect(path or ":memory:")
    # A killed process loses nothing; after a power cut the last pins may be missing, and are made again.
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON", "busy_timeout = 5000"):
        connection.execute(f"PRAGMA {pragma}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version != VERSION:
        raise ConfigError(
            f"{path} was written by another version of this program",
            remedy="move it away: images are then looked at anew",
        )
    return connection


@contextmanager
def _mapped(path: Path | None) -> Iterator[None]:
    """A record that is damaged can be thrown away; one that cannot be written may be written later."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            raise ConfigError(
                f"{path} is damaged ({error})", remedy="move it away: images are then looked at anew"
            ) from error
        raise Temporary(
            f"{path} cannot be used: {error}", remedy="look at the disk of the state folder"
        ) from error
