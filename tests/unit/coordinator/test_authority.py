"""The market's authority: what its certificates say, and what it does not sign."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.verification import PolicyBuilder, Store

from provider.coordinator.authority import FILE_NAME, MEMBER_LIFE, SKEW, Authority, proven_key_digest
from provider.domain.errors import ConfigError, PeerError
from provider.domain.ids import LeaseId
from provider.domain.moment import MINUTE, Instant
from provider.rpc import tokens
from provider.rpc.identity import new_key, read_certificate, signing_request
from provider.rpc.member import Member, Role
from tests.market import START

NORTH = Member(role=Role.PROVIDER, market="test", name="north")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.open(tmp_path, "test", START)


def test_a_members_certificate_names_it_for_a_day_and_verifies(authority: Authority) -> None:
    pem = authority.issue(NORTH, signing_request(new_key()), START)
    found = read_certificate(pem)
    assert found.member == NORTH
    assert (found.not_before, found.not_after) == (START - SKEW, START + MEMBER_LIFE)
    roots = Store(x509.load_pem_x509_certificates(authority.pem.encode()))
    chain = PolicyBuilder().store(roots).time(_moment(START)).build_client_verifier()
    verified = chain.verify(x509.load_pem_x509_certificate(pem.encode()), [])
    assert verified.subjects is not None
    assert [name.value for name in verified.subjects] == [NORTH.spiffe_id, NORTH.dns_name]


def test_the_coordinator_itself_is_verified_by_its_name(authority: Authority) -> None:
    identity = authority.own_identity(START)
    roots = Store(x509.load_pem_x509_certificates(authority.pem.encode()))
    builder = PolicyBuilder().store(roots).time(_moment(START))
    verifier = builder.build_server_verifier(x509.DNSName("coordinator.test.internal"))
    verifier.verify(x509.load_pem_x509_certificate(identity.certificate_pem.encode()), [])


def test_names_in_the_signing_request_are_ignored(authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://test/coordinator")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "coordinator")])
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=True)
    )
    pem = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    issued = authority.issue(NORTH, pem, START)
    assert read_certificate(issued).member == NORTH
    assert len(x509.load_pem_x509_certificate(issued.encode()).subject) == 0


def _csr(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    algorithm = hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM).decode()


def _tampered() -> str:
    raw = bytearray(
        x509.load_pem_x509_csr(signing_request(new_key()).encode()).public_bytes(serialization.Encoding.DER)
    )
    raw[-1] ^= 1
    return x509.load_der_x509_csr(bytes(raw)).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("csr", "why"),
    [
        ("", "is not a signing request"),
        (
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            "is not a signing",
        ),
        (_csr(ec.generate_private_key(ec.SECP384R1())), "not P-256"),
        (_csr(ed25519.Ed25519PrivateKey.generate()), "not P-256"),
        (_tampered(), "does not prove its key"),
    ],
)
def test_what_proves_no_key_is_not_signed(authority: Authority, csr: str, why: str) -> None:
    with pytest.raises(PeerError, match=why):
        authority.issue(NORTH, csr, START)
    with pytest.raises(PeerError, match=why):
        proven_key_digest(csr)


def test_two_requests_of_one_key_prove_the_same_key(authority: Authority) -> None:
    key, other = new_key(), new_key()
    assert proven_key_digest(signing_request(key)) == proven_key_digest(signing_request(key))
    assert proven_key_digest(signing_request(key)) != proven_key_digest(signing_request(other))


def test_the_same_authority_is_found_again_and_seen_by_nobody_else(tmp_path: Path) -> None:
    first, again = (Authority.open(tmp_path, "test", START) for _ in range(2))
    assert (again.pem, again.token_public_pem) == (first.pem, first.token_public_pem)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_a_token_of_this_authority_is_one(authority: Authority) -> None:
    token = tokens.LeaseToken(
        market="test",
        lease=LeaseId.parse("alice/1/1/1/north"),
        scopes=(tokens.Scope.LOGS,),
        issued_at=START,
        expires_at=Instant(START + MINUTE),
        id="1",
    )
    text = tokens.issue(token, authority.token_key, authority.token_key_name)
    keys = [authority.token_public_pem]
    assert tokens.verify(text, keys, market="test", provider=token.lease.provider, at=START) == token


@pytest.mark.parametrize(
    ("content", "why"),
    [("nonsense", "is not an authority"), ('{"format": 1}', "is not an authority"), (None, "newer version")],
)
def test_a_file_that_is_no_authority_is_refused(tmp_path: Path, content: str | None, why: str) -> None:
    Authority.open(tmp_path, "test", START)
    path = tmp_path / FILE_NAME
    path.write_text(content or json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(ConfigError, match=why):
        Authority.open(tmp_path, "test", START)


def test_another_markets_authority_is_refused(tmp_path: Path) -> None:
    Authority.open(tmp_path, "test", START)
    with pytest.raises(ConfigError, match="is the market test's, not other's"):
        Authority.open(tmp_path, "other", START)


def _moment(at: Instant) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)


def test_a_lost_authority_is_not_made_anew_under_members_who_trust_the_old_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        Authority.open(tmp_path, "test", START, is_new=False)
    assert refused.value.remedy == "restore it from a copy; without one, begin a new market in another folder"
    assert list(tmp_path.iterdir()) == []
