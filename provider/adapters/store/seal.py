"""The seal on rows that hold tenants' secrets: AES-256-GCM, a random nonce each, bound to the row.

Owns the sealed form, ``sealed:1:`` and base64 of nonce and ciphertext. Does not own the key (``key_file``).

Invariant: a sealed text opens in its own row alone; copied to another it does not open.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from provider.domain.secret import Secret

MARK = "sealed:1:"
KEY_BYTES = 32
_NONCE_BYTES = 12
"""Random ones of 96 bits are good for 2^32 texts under one key (NIST SP 800-38D, 8.3)."""


class WrongKey(ValueError):
    """The text was sealed with another key, in another row, or was changed since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """One key, base64."""

    key: Secret

    def close(self, place: str, text: str) -> str:
        """``text`` sealed for ``place``, the name of its row."""
        nonce = os.urandom(_NONCE_BYTES)
        return MARK + b64encode(nonce + self._cipher().encrypt(nonce, text.encode(), place.encode())).decode()

    def open(self, place: str, text: str) -> str:
        """What was sealed for ``place``; a text that is not sealed as it is. ``WrongKey``."""
        if not text.startswith(MARK):
            return text
        try:
            sealed = b64decode(text.removeprefix(MARK), validate=True)
            nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
            return self._cipher().decrypt(nonce, body, place.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise WrongKey(place) from error

    def _cipher(self) -> AESGCM:
        return AESGCM(b64decode(self.key.reveal()))
