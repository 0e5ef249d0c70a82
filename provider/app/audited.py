"""What auditors vouch for: statements about a provider's attributes, signed, verified when they are read.

A statement is a JSON file ``{provider, auditor, attributes, expires, signature}``; signed is all of it but
the signature, keys sorted, without spaces. ES256 (the two numbers of 32 bytes, as in RFC 7518) or Ed25519, by
the auditor's public key: ``bidding.auditors`` names it, or the auditor is called by its fingerprint
(``sha256:`` and 64 hex digits over the key's DER) and the statement carries the key. Invariant: nothing
counts that was not verified, and a statement that cannot be is an error that names the file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from provider.core.bid_policy import Audited
from provider.domain.errors import ConfigError
from provider.domain.ids import ProviderId
from provider.domain.moment import Instant
from provider.domain.resources import Attribute

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_FINGERPRINT = "sha256:"
_FIELDS = {"provider", "auditor", "attributes", "expires", "key", "signature"}
_REMEDY = "ask the auditor for a statement made with `provider attributes sign`, or take the file away"


def audited_attributes(
    folder: Path | None, auditors: Mapping[str, Path], provider: ProviderId
) -> Mapping[str, Audited]:
    """By auditor, what it has signed of ``provider``: every ``*.json`` of ``folder``. ``ConfigError``."""
    if folder is None:
        return {}
    if not folder.is_dir():
        raise ConfigError(
            f"bidding.audited: {folder} is no folder", remedy="make it, or leave the setting out"
        )
    keys = {name: _public_key(path) for name, path in auditors.items()}
    found: dict[str, Audited] = {}
    for path in sorted(folder.glob("*.json")):
        auditor, audited = _verified(path, keys, provider)
        if auditor in found:
            raise ConfigError(f"{path}: a second statement of {auditor}", remedy="keep the newer one")
        found[auditor] = audited
    return found


def statement(
    provider: str, auditor: str, attributes: Mapping[str, str], expires: str | None, key: PrivateKey
) -> dict[str, Any]:
    """A signed statement, to be written as JSON. An empty ``auditor`` is the key's fingerprint."""
    body: dict[str, Any] = {"provider": provider, "attributes": dict(attributes)}
    if expires is not None:
        _instant(expires, "--expires")
        body["expires"] = expires
    if auditor:
        body["auditor"] = auditor
    else:
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        body |= {"auditor": fingerprint(key.public_key()), "key": pem.decode()}
    return body | {"signature": base64.b64encode(_sign(_signed_bytes(body), key)).decode()}


def fingerprint(key: PublicKey) -> str:
    """``sha256:…`` over the DER of the public key."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _FINGERPRINT + hashlib.sha256(der).hexdigest()


def private_key(path: Path) -> PrivateKey:
    """An auditor's key, PEM. ``ConfigError`` where it is none, or of a kind that statements cannot have."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", remedy="name a private key, PEM"
        ) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is no private key without a password", remedy="name a PEM file") from error
    if isinstance(key, ed25519.Ed25519PrivateKey) or _is_p256(key):
        return key  # type: ignore[return-value]  # _is_p256 says so of the other kind
    raise ConfigError(
        f"{path} is neither a P-256 nor an Ed25519 key", remedy="openssl genpkey -algorithm ed25519"
    )


def _is_p256(key: object) -> bool:
    return isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) and isinstance(
        key.curve, ec.SECP256R1
    )


def _public_key(path: Path) -> PublicKey:
    try:
        return _loaded(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(
            f"bidding.auditors: {path} cannot be read: {error.strerror}", remedy="name a public key, PEM"
        ) from error


def _loaded(pem: bytes, where: str) -> PublicKey:
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{where}: no public key in PEM", remedy=_REMEDY) from error
    if isinstance(key, ed25519.Ed25519PublicKey) or _is_p256(key):
        return key  # type: ignore[return-value]  # _is_p256 says so of the other kind
    raise ConfigError(f"{where}: neither a P-256 nor an Ed25519 key", remedy=_REMEDY)


def _verified(path: Path, keys: Mapping[str, PublicKey], provider: ProviderId) -> tuple[str, Audited]:
    body = _read(path)
    auditor = body["auditor"]
    if body["provider"] != provider:
        raise ConfigError(f"{path} is about {body['provider']}, not about {provider}", remedy=_REMEDY)
    key = keys.get(auditor)
    if key is None and auditor.startswith(_FINGERPRINT) and isinstance(body.get("key"), str):
        key = _loaded(body["key"].encode(), str(path))
        if fingerprint(key) != auditor:
            raise ConfigError(f"{path}: its key is not the one that {auditor} names", remedy=_REMEDY)
    if key is None:
        raise ConfigError(
            f"{path}: there is no key of the auditor {auditor}", remedy="add it to bidding.auditors"
        )
    _check(path, body, key)
    expires = body.get("expires")
    return auditor, Audited(
        attributes=tuple(
            Attribute(key=name, value=value) for name, value in sorted(body["attributes"].items())
        ),
        expires_at=None if expires is None else _instant(expires, str(path)),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", remedy=_REMEDY) from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}", remedy=_REMEDY) from error
    texts = ("provider", "auditor", "signature")
    is_whole = (
        isinstance(body, dict)
        and not set(body) - _FIELDS
        and all(isinstance(body.get(name), str) for name in texts)
        and isinstance(body.get("attributes"), dict)
        and all(isinstance(value, str) for value in body["attributes"].values())
        and isinstance(body.get("expires", ""), str)
    )
    if not is_whole:
        raise ConfigError(
            f"{path} is no statement: provider, auditor, attributes and signature are wanted", remedy=_REMEDY
        )
    whole: dict[str, Any] = body
    return whole


def _signed_bytes(body: Mapping[str, Any]) -> bytes:
    unsigned = {name: value for name, value in body.items() if name != "signature"}
    return json.dumps(unsigned, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _sign(message: bytes, key: PrivateKey) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    first, second = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return first.to_bytes(32, "big") + second.to_bytes(32, "big")


def _check(path: Path, body: Mapping[str, Any], key: PublicKey) -> None:
    try:
        signature = base64.b64decode(body["signature"], validate=True)
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, _signed_bytes(body))
        else:
            halves = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            key.verify(encode_dss_signature(*halves), _signed_bytes(body), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error):
        raise ConfigError(f"{path}: {body['auditor']} has not signed this", remedy=_REMEDY) from None


def _instant(text: str, where: str) -> Instant:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{where}: {text!r} is no instant", remedy="such as 2027-01-31T00:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return Instant(round(moment.timestamp() * 1000))
