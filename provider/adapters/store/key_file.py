"""The file with the key that secrets in the database are sealed with: 32 bytes as base64, one line.

Invariant: a key is on the disk, whole, before anything is sealed with it, and nobody but its owner reads it.
"""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from pathlib import Path

from provider.adapters.store.seal import KEY_BYTES
from provider.domain.errors import ConfigError
from provider.domain.secret import Secret


def read_key(path: Path) -> Secret | None:
    """The key in ``path``; None when there is no such file. ``ConfigError`` when it is not to be used."""
    try:
        text = path.read_text(encoding="ascii").strip()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read as a key: {error}", remedy="give this user the right to read it"
        ) from error
    # A service manager's credentials are readable by their group, which is the service's own.
    if mode & 0o027:
        raise ConfigError(f"{path} holds a key and others can read it", remedy=f"chmod 600 {path}")
    try:
        is_key = len(b64decode(text, validate=True)) == KEY_BYTES
    except binascii.Error:
        is_key = False
    if not is_key:
        raise ConfigError(
            f"{path} is not a key: it should hold {KEY_BYTES} bytes as base64",
            remedy=f"put the right one back, or make a new one: head -c {KEY_BYTES} /dev/urandom | base64",
        )
    return Secret(text)


def make_key(path: Path) -> Secret:
    """A new key in ``path``, which is not there yet."""
    key = b64encode(os.urandom(KEY_BYTES)).decode()
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{key}\n")
            file.flush()
            os.fsync(descriptor)
        draft.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}",
            remedy="choose a state folder that this user may write to",
        ) from error
    return Secret(key)
