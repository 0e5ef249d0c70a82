"""Bringing a database under its seal: the right key, nothing clear left of what was written before.

Invariant: once ``under_seal`` has returned, no manifest is in the file, its log or a kept copy in the clear,
unless another program holds the log open; then the next start goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from provider.adapters.store import rows
from provider.adapters.store.database import Database
from provider.adapters.store.key_file import make_key, read_key
from provider.adapters.store.seal import MARK, Seal, WrongKey
from provider.core.effects import Effect, StartWorkload
from provider.core.state import Lease
from provider.domain.errors import ConfigError

DEFAULT_NAME = "secrets.key"
_PROOF_PLACE, _PROOF = "seal", "this is the key"


def under_seal(database: Database, key_file: Path | None) -> Seal:
    """The seal of ``database``. A key is made where there is none and no ``key_file`` is asked for.

    ``ConfigError`` when the key is missing, or is not the one that was used before.
    """
    path = key_file or database.path.with_name(DEFAULT_NAME)
    row = database.connection.execute("SELECT proof, is_scrubbed FROM seal").fetchone()
    key = read_key(path)
    if key is None:
        if row is not None or key_file is not None:
            raise _missing(path, database.path, is_sealed=row is not None)
        key = make_key(path)
    seal = Seal(key=key)
    if row is None:
        _seal_old_rows(database, seal)
    elif not _fits(seal, str(row[0])):
        raise ConfigError(
            f"{path} is not the key that {database.path} was sealed with",
            remedy=f"put that key back; if it is lost, move {database.path} away: its leases are lost too",
        )
    if row is None or not row[1]:
        _scrub(database)
    return seal


def lease_text(lease: Lease) -> tuple[str, bool]:
    """Its row's text, and whether that has to be sealed."""
    return rows.row_text(lease), lease.current is not None


def effect_text(effect: Effect) -> tuple[str, bool]:
    return rows.effect_text(effect), isinstance(effect, StartWorkload)


def _fits(seal: Seal, proof: str) -> bool:
    try:
        return seal.open(_PROOF_PLACE, proof) == _PROOF
    except WrongKey:
        return False


def _missing(path: Path, database: Path, *, is_sealed: bool) -> ConfigError:
    if is_sealed:
        return ConfigError(
            f"{path} is missing: the key that {database} is sealed with",
            remedy=f"put it back; if it is lost, move {database} away: its leases are lost too",
        )
    return ConfigError(
        f"{path} is missing: the key for tenants' secrets",
        remedy="make one: head -c 32 /dev/urandom | base64; or leave secrets_key_file out",
    )


def _seal_old_rows(database: Database, seal: Seal) -> None:
    """What a version before this one wrote in the clear, all at once or not at all."""
    with database.transaction() as connection:
        for table, needs in _TABLES:
            for name, body in connection.execute(f"SELECT id, body FROM {table}").fetchall():  # noqa: S608
                if not body.startswith(MARK) and needs(body):
                    sealed = seal.close(f"{table}/{name}", body)
                    connection.execute(f"UPDATE {table} SET body = ? WHERE id = ?", (sealed, name))  # noqa: S608
        connection.execute(
            "INSERT INTO seal (only, proof, is_scrubbed) VALUES (1, ?, 0)",
            (seal.close(_PROOF_PLACE, _PROOF),),
        )


_TABLES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("lease", lambda body: lease_text(rows.row_value(body, Lease))[1]),
    ("effect", lambda body: effect_text(rows.effect_value(body))[1]),
)


def _scrub(database: Database) -> None:
    """Free pages and the log still hold what rows said before: write the file anew, and end the log."""
    for copy in database.path.parent.glob(f"{database.path.name}.schema-*"):
        copy.unlink()
    if database.rewrite():
        with database.transaction() as connection:
            connection.execute("UPDATE seal SET is_scrubbed = 1")
