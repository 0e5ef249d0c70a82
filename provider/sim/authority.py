"""A throwaway authority: members of a market made on the spot, also ones whose time is over.

For tests and for the demo's misfits; a real market's authority is ``coordinator/authority.py``, which
keeps its key. The certificates have what verifiers ask for: key ids, usages, one URI and one DNS name.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from provider.domain.moment import HOUR, Instant
from provider.rpc.identity import Identity, assemble, new_key, signing_request
from provider.rpc.member import Member, Role


class ThrowawayAuthority:
    """Of ``market``; good from the 1970s to the 2100s, so that any virtual time fits."""

    def __init__(self, market: str, coordinator: str = "127.0.0.1:1") -> None:
        self.market = market
        self.coordinator = coordinator
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {market}")])
        usage = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder(self._name, self._key.public_key(), Instant(0), Instant(4_100_000_000_000))
        self._certificate = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def member(self, role: Role, name: str, *, at: Instant, until: Instant | None = None) -> Identity:
        """An identity good from ``at`` on, for a day unless ``until`` says otherwise."""
        member = Member(role=role, market=self.market, name=name)
        key = new_key()
        certificate = self.sign(signing_request(key), member, at=at, until=until)
        return assemble(
            key=key, certificate_pem=certificate, authority_pem=self.pem, coordinator=self.coordinator
        )

    def sign(self, csr_pem: str, member: Member, *, at: Instant, until: Instant | None = None) -> str:
        """A certificate (PEM) for the key in ``csr_pem``; names come from ``member`` alone."""
        request = x509.load_pem_x509_csr(csr_pem.encode())
        public = request.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey), "members have P-256 keys"
        names = x509.SubjectAlternativeName(
            [x509.UniformResourceIdentifier(member.spiffe_id), x509.DNSName(member.dns_name)]
        )
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        builder = self._builder(x509.Name([]), public, at, until or Instant(at + 24 * HOUR))
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(names, critical=True).add_extension(usages, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    def _builder(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, at: Instant, until: Instant
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=public,
            serial_number=x509.random_serial_number(),
            not_valid_before=datetime.fromtimestamp(at / 1000, UTC) - timedelta(seconds=1),
            not_valid_after=datetime.fromtimestamp(until / 1000, UTC),
        )
        key_id = x509.SubjectKeyIdentifier.from_public_key(public)
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return builder.add_extension(key_id, critical=False).add_extension(issuer_id, critical=False)
