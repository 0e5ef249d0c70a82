"""The market's authority: the key that makes its members, and the one that signs lease tokens.

Owns both keys, in one file of the state folder that only the coordinator's user can read, and what a
certificate says. Does not own who may have one: the book does, by invitation.

**Invariant:** names in a certificate come from the book, never from the signing request, which only proves
a key.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provider.domain.errors import ConfigError, PeerError
from provider.domain.moment import HOUR, MINUTE, Instant, Span, after
from provider.domain.secret import Secret
from provider.rpc import tokens
from provider.rpc.identity import Identity, assemble, new_key, public_key_pem, signing_request, write_private
from provider.rpc.member import Member, Role

FILE_NAME = "authority.json"
MEMBER_LIFE = Span(24 * HOUR)
"""Of a certificate: short, so that a stolen one is soon worth nothing. Renewed at two thirds."""
AUTHORITY_LIFE = Span(10 * 365 * 24 * HOUR)
SKEW = Span(5 * MINUTE)
"""How far a member's clock may be behind ours before a new certificate looks like one from the future."""
_FORMAT = 1


class Authority:
    """Of one market."""

    def __init__(self, market: str, key: Secret, certificate_pem: str, token_key: Secret) -> None:
        self.market = market
        self.pem = certificate_pem
        self.token_key = token_key
        self.token_public_pem = public_key_pem(token_key)
        self.token_key_name = tokens.key_id(self.token_public_pem)
        self._key = _private(key)
        self._certificate = x509.load_pem_x509_certificate(certificate_pem.encode())

    @classmethod
    def open(cls, directory: Path, market: str, at: Instant, *, is_new: bool = True) -> Authority:
        """The one kept in ``directory``; of a new market, made if there is none.

        ``ConfigError`` where it is unusable, or lost: another one would cut off every member.
        """
        path = directory / FILE_NAME
        if not path.exists() and is_new:
            return cls._new(path, market, at)
        if not path.exists():
            raise ConfigError(
                f"{path} is missing, and the market {market} has members who trust no other authority",
                remedy="restore it from a copy; without one, begin a new market in another folder",
            )
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            kept, found = body["market"], body["format"]
            parts = (Secret(body["key_pem"]), str(body["certificate_pem"]), Secret(body["token_key_pem"]))
            authority = cls(market, *parts) if found == _FORMAT else None
        except (OSError, ValueError, KeyError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                f"{path} is not an authority: {error}",
                remedy="restore it from a copy: members trust no other",
            ) from error
        if authority is None:
            raise ConfigError(f"{path} was written by a newer version", remedy="update this software")
        if kept != market:
            raise ConfigError(
                f"{path} is the market {kept}'s, not {market}'s", remedy="give each market its own folder"
            )
        return authority

    @classmethod
    def _new(cls, path: Path, market: str, at: Instant) -> Authority:
        key, token_key = new_key(), new_key()
        certificate = _self_signed(_private(key), market, at)
        body = {
            "format": _FORMAT,
            "market": market,
            "key_pem": key.reveal(),
            "certificate_pem": certificate,
            "token_key_pem": token_key.reveal(),
        }
        write_private(path, json.dumps(body, indent=1))
        return cls(market, key, certificate, token_key)

    def issue(self, member: Member, csr_pem: str, at: Instant) -> str:
        """A certificate (PEM) for the key that ``csr_pem`` proves. ``PeerError`` where it proves none."""
        names = x509.SubjectAlternativeName(
            [x509.UniformResourceIdentifier(member.spiffe_id), x509.DNSName(member.dns_name)]
        )
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = _builder(x509.Name([]), self._certificate.subject, _proven_key(csr_pem))
        builder = (
            _valid(builder, Instant(at - SKEW), after(at, MEMBER_LIFE))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            # Critical because there is no subject (RFC 5280, 4.2.1.6).
            .add_extension(names, critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        return _pem(builder.sign(self._key, hashes.SHA256()))

    def own_identity(self, at: Instant) -> Identity:
        """A new certificate for the coordinator itself, with a new key that is kept nowhere."""
        key = new_key()
        certificate = self.issue(Member(role=Role.COORDINATOR, market=self.market), signing_request(key), at)
        return assemble(key=key, certificate_pem=certificate, authority_pem=self.pem, coordinator="")


def proven_key_digest(csr_pem: str) -> str:
    """sha256 of the public key that ``csr_pem`` proves, hex. ``PeerError`` where it proves none."""
    raw = _proven_key(csr_pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(raw).hexdigest()


def _proven_key(csr_pem: str) -> ec.EllipticCurvePublicKey:
    try:
        request = x509.load_pem_x509_csr(csr_pem.encode())
        public, is_proven = request.public_key(), request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm) as error:
        raise PeerError("csr_pem: is not a signing request (PKCS#10, PEM)") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise PeerError("csr_pem: is for a key that is not P-256")
    if not is_proven:
        raise PeerError("csr_pem: does not prove its key")
    return public


def _private(key: Secret) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(key.reveal().encode(), password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError("its key is not an elliptic-curve key")  # noqa: TRY004 -- one kind of error for a bad file
    return loaded


def _self_signed(key: ec.EllipticCurvePrivateKey, market: str, at: Instant) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {market}"[:64])])
    builder = _valid(_builder(name, name, key.public_key()), Instant(at - SKEW), after(at, AUTHORITY_LIFE))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(key_cert_sign=True), critical=True)
    return _pem(builder.sign(key, hashes.SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _valid(builder: x509.CertificateBuilder, since: Instant, until: Instant) -> x509.CertificateBuilder:
    return builder.not_valid_before(_moment(since)).not_valid_after(_moment(until))


def _moment(instant: Instant) -> datetime:
    return datetime.fromtimestamp(instant // 1000, UTC)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
