"""Keys and certificates: made, read, kept on disk.

Owns: P-256 keys, signing requests, what a certificate says, and the one file in which a member keeps
its key, certificate, the market's authority and the coordinator's address. Does not own issuing
(``coordinator/authority.py``) nor the join token that starts it all (``join.py``).
Invariant: an ``Identity`` is whole. Its key fits its certificate, and the file is replaced in one
rename, so that a crash leaves the old one or the new one.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from provider.domain.errors import ConfigError, PeerError
from provider.domain.moment import Instant, rfc3339
from provider.domain.secret import Secret
from provider.rpc.member import Member, Role

FILE_NAME = "identity.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a member's certificate says."""

    member: Member
    serial: int
    not_before: Instant
    not_after: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A member's proof of who it is, and where its market is."""

    key: Secret
    """PKCS#8, PEM."""
    certificate_pem: str
    """The member's own."""
    authority_pem: str
    """The market's: one certificate, or two while it is being replaced."""
    coordinator: str
    """host:port of the coordinator's services; empty for the coordinator itself."""
    certificate: Certificate

    @property
    def member(self) -> Member:
        return self.certificate.member

    @property
    def renew_at(self) -> Instant:
        """Two thirds into the certificate's life: a third is left for the coordinator to be away."""
        life = self.certificate.not_after - self.certificate.not_before
        return Instant(self.certificate.not_before + life * 2 // 3)


class LiveIdentity:
    """The identity in use, replaced as a whole when it is renewed. Safe to read from any thread."""

    def __init__(self, identity: Identity) -> None:
        self.now = identity


def new_key() -> Secret:
    """A P-256 key: Ed25519 and secp256k1 certificates are refused by gRPC's TLS (measured, 1.85.1)."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret(pem.decode())


def public_key_pem(key: Secret) -> str:
    """The public half of ``key``."""
    return _public_pem(_private(key).public_key())


def signing_request(key: Secret) -> str:
    """PKCS#10, PEM. It proves the key and names nobody: the authority sets every name."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(_private(key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def read_certificate(pem: str) -> Certificate:
    """What ``pem`` says. ``PeerError`` where it is no certificate of a member."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        member = Member.parse(uris[0] if len(uris) == 1 else "")
    except (ValueError, x509.ExtensionNotFound) as error:
        raise PeerError(f"not a member's certificate: {error}") from error
    return Certificate(
        member=member,
        serial=certificate.serial_number,
        not_before=Instant(int(certificate.not_valid_before_utc.timestamp() * 1000)),
        not_after=Instant(int(certificate.not_valid_after_utc.timestamp() * 1000)),
    )


def assemble(*, key: Secret, certificate_pem: str, authority_pem: str, coordinator: str) -> Identity:
    """All parts put together. ``PeerError`` where they do not belong together."""
    certificate = read_certificate(certificate_pem)
    try:
        public = x509.load_pem_x509_certificate(certificate_pem.encode()).public_key()
        fits = isinstance(public, ec.EllipticCurvePublicKey) and _public_pem(public) == public_key_pem(key)
        authorities = x509.load_pem_x509_certificates(authority_pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PeerError(f"the certificate or the key cannot be read: {error}") from error
    if not fits:
        raise PeerError("the certificate is for another key")
    if not authorities:
        raise PeerError("the market's authority is missing")
    return Identity(
        key=key,
        certificate_pem=certificate_pem,
        authority_pem=authority_pem,
        coordinator=coordinator,
        certificate=certificate,
    )


def save(identity: Identity, directory: Path) -> None:
    """Write ``directory/identity.json`` (0600, directory 0700), durable once this returns."""
    body = {
        "format": _FORMAT,
        "member": identity.member.spiffe_id,
        "coordinator": identity.coordinator,
        "key_pem": identity.key.reveal(),
        "certificate_pem": identity.certificate_pem,
        "authority_pem": identity.authority_pem,
    }
    write_private(directory / FILE_NAME, json.dumps(body, indent=1))


def load(directory: Path, role: Role, *, at: Instant | None, market: str | None = None) -> Identity:
    """The identity kept in ``directory``, good at ``at``, for ``role`` and, where given, for ``market``.
    Without ``at`` one whose certificate has ended is as good.

    ``ConfigError`` otherwise: missing, unreadable, seen by others, someone else's, or expired.
    """
    path = directory / FILE_NAME
    again = f"run `{role} enroll TOKEN` with a new join token"
    loaded = _read(path, role, again)
    member = loaded.member
    if member.role is not role:
        raise ConfigError(f"{path} is of the {member}, not of a {role}", remedy=again)
    if market is not None and member.market != market:
        raise ConfigError(
            f"{path} is for the market {member.market}, not {market}",
            remedy=f"use another state directory, or {again}",
        )
    if at is not None:
        check_valid(loaded, at)
    return loaded


def check_valid(identity: Identity, at: Instant) -> None:
    """``ConfigError`` where the certificate is not good at ``at``, with since when and what to do."""
    certificate = identity.certificate
    if at >= certificate.not_after:
        raise ConfigError(
            f"the certificate of the {identity.member} expired at {rfc3339(certificate.not_after)}",
            remedy=f"run `{identity.member.role} enroll TOKEN` with a new join token",
        )
    if at < certificate.not_before:
        raise ConfigError(
            f"the certificate of the {identity.member} is good only from {rfc3339(certificate.not_before)}",
            remedy="set this machine's clock",
        )


def _read(path: Path, role: Role, again: str) -> Identity:
    try:
        mode = path.stat().st_mode
        body = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(
            f"this {role} belongs to no market yet: {path} is missing",
            remedy=f"run `{role} enroll TOKEN`; the market's owner makes one with `coordinator invite`",
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", remedy=again) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path} holds a key and others can read it", remedy=f"chmod 600 {path}")
    wanted = ("key_pem", "certificate_pem", "authority_pem", "coordinator")
    if not isinstance(body, dict) or not all(isinstance(body.get(name), str) for name in wanted):
        raise ConfigError(f"{path} is not an identity", remedy=again)
    if body.get("format") != _FORMAT:
        raise ConfigError(f"{path} was written by a newer version", remedy="update this software")
    try:
        return assemble(
            key=Secret(body["key_pem"]),
            certificate_pem=body["certificate_pem"],
            authority_pem=body["authority_pem"],
            coordinator=body["coordinator"],
        )
    except PeerError as error:
        raise ConfigError(f"{path} is damaged: {error.what}", remedy=again) from error


def write_private(path: Path, text: str) -> None:
    """Replace ``path`` in one rename, seen by nobody else (0600 in a 0700 directory), on disk on return.

    ``ConfigError`` where the disk is full or not ours; the old file is then still there.
    """
    try:
        _replace(path, text)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", remedy="check the disk and who owns that folder"
        ) from error


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)  # a file that a crash left may have another mode
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _private(key: Secret) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(key.reveal().encode(), password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic-curve key")  # noqa: TRY004 -- one kind of error for a bad file
    return loaded


def _public_pem(key: ec.EllipticCurvePublicKey) -> str:
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()
