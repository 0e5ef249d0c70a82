"""Lease tokens: a coordinator's signed word that a tenant may do certain things with a lease.

ES256 JWTs of at most 15 minutes, verified by the provider with keys it already holds, so that a tenant
reaches its lease while the coordinator is away. Time comes in as an argument.
Invariant: ``verify`` returns only what every row of its table has passed; the algorithm is fixed here
and never taken from the token (RFC 8725, section 3.1).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc import StatusCode

from provider.domain.ids import LeaseId, Owner, ProviderId
from provider.domain.moment import MINUTE, Instant, Span
from provider.domain.secret import Secret
from provider.rpc.status import Denied

ALGORITHM = "ES256"
TYPE = "lease+jwt"
LIFETIME_MOST = Span(15 * MINUTE)
LEEWAY = Span(30_000)
"""How far the clocks of coordinator and provider may be apart."""
TEXT_MOST = 4096
"""Characters of a token: ours have about 450."""


class Scope(StrEnum):
    """What a token allows."""

    MANIFEST = "manifest"
    STATUS = "status"
    """Events too."""
    LOGS = "logs"
    EXEC = "exec"
    FILES = "files"
    """Copies in and out: what a shell can do, but one can be given without the other."""
    RESTART = "restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseToken:
    """What a token says. Its subject is the lease's owner, its audience the lease's provider."""

    market: str
    lease: LeaseId
    scopes: tuple[Scope, ...]
    issued_at: Instant
    expires_at: Instant
    id: str
    """``jti``: unique among the coordinator's tokens."""


def key_id(public_pem: str) -> str:
    """``kid``: names a public key, 16 characters of its sha256."""
    key = serialization.load_pem_public_key(public_pem.encode())
    raw = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(raw).digest()[:12]).decode()


def issue(token: LeaseToken, key: Secret, key_name: str) -> str:
    """Sign ``token`` with the coordinator's P-256 ``key`` (PEM), whose ``key_id`` is ``key_name``."""
    assert 0 < token.expires_at - token.issued_at <= LIFETIME_MOST, "a lease token lives 15 minutes at most"
    body = {
        "iss": token.market,
        "aud": token.lease.provider,
        "sub": token.lease.owner,
        "lease": str(token.lease),
        "scope": [scope.value for scope in token.scopes],
        "iat": token.issued_at // 1000,
        "nbf": token.issued_at // 1000,
        "exp": token.expires_at // 1000,
        "jti": token.id,
    }
    return jwt.encode(body, key.reveal(), algorithm=ALGORITHM, headers={"typ": TYPE, "kid": key_name})


def verify(text: str, keys: Sequence[str], *, market: str, provider: ProviderId, at: Instant) -> LeaseToken:
    """What ``text`` says, once signature, type, names and times are right. ``Denied`` otherwise.

    ``keys``: public keys, PEM, in any order. Whether the caller is the subject, and whether the lease
    and the scope are the ones asked for, is ``require``.
    """
    if len(text) > TEXT_MOST:
        raise _denied("TOKEN_MALFORMED", "it is too long")
    header = _header(text)
    if header.get("alg") != ALGORITHM or header.get("typ") != TYPE:
        raise _denied("TOKEN_TYPE", f"it is not an {ALGORITHM} {TYPE}")
    by_name = {key_id(pem): pem for pem in keys}
    pem = by_name.get(str(header.get("kid")))
    if pem is None:
        raise _denied("TOKEN_KEY_UNKNOWN", "its key is not one of this market's")
    token = _claims(_signed_body(text, pem))
    _check_names(token, market, provider)
    _check_times(token, at)
    return token


def require(token: LeaseToken, *, tenant: str, lease: LeaseId, scope: Scope) -> None:
    """``Denied`` unless ``token`` lets ``tenant`` do ``scope`` with ``lease``."""
    if token.lease.owner != tenant:
        raise _denied("TOKEN_SUBJECT", f"it is {token.lease.owner}'s, and the certificate is {tenant}'s")
    if token.lease != lease:
        raise _denied("TOKEN_LEASE", f"it is for the lease {token.lease}", StatusCode.PERMISSION_DENIED)
    if scope not in token.scopes:
        raise _denied("TOKEN_SCOPE", f"it does not allow {scope}", StatusCode.PERMISSION_DENIED)


def _header(text: str) -> dict[str, object]:
    try:
        return jwt.get_unverified_header(text)
    except jwt.PyJWTError as error:
        raise _denied("TOKEN_MALFORMED", "it is cut off or no token") from error


def _signed_body(text: str, pem: str) -> dict[str, object]:
    # Times and names are checked below, against the time that was passed in.
    options: jwt.types.Options = {
        "require": ["iss", "aud", "sub", "lease", "scope", "iat", "nbf", "exp", "jti"],
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
        "verify_aud": False,
        "verify_iss": False,
    }
    try:
        return jwt.decode(text, _loaded(pem), algorithms=[ALGORITHM], options=options)
    except jwt.MissingRequiredClaimError as error:
        raise _denied("TOKEN_MALFORMED", f"it has no {error.claim}") from error
    except jwt.InvalidSignatureError as error:
        raise _denied("TOKEN_SIGNATURE", "its signature is wrong") from error
    except jwt.PyJWTError as error:
        raise _denied("TOKEN_MALFORMED", "it cannot be read") from error


@lru_cache(maxsize=16)
def _loaded(pem: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _denied("TOKEN_KEY_UNKNOWN", "the market's key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise _denied("TOKEN_KEY_UNKNOWN", "the market's key is not P-256")
    return key


def _claims(body: dict[str, object]) -> LeaseToken:
    malformed = _denied("TOKEN_MALFORMED", "its claims cannot be")
    times = [body["iat"], body["nbf"], body["exp"]]
    scopes = body["scope"]
    if not all(type(time) is int for time in times) or not isinstance(scopes, list):
        raise malformed
    try:
        lease = LeaseId.parse(str(body["lease"]))
    except ValueError as error:
        raise malformed from error
    if body["sub"] != lease.owner or body["aud"] != lease.provider or body["nbf"] != body["iat"]:
        raise malformed
    return LeaseToken(
        market=str(body["iss"]),
        lease=LeaseId(
            owner=Owner(lease.owner),
            dseq=lease.dseq,
            gseq=lease.gseq,
            oseq=lease.oseq,
            provider=lease.provider,
        ),
        # A scope that a newer coordinator knows allows nothing here.
        scopes=tuple(Scope(scope) for scope in scopes if scope in tuple(Scope)),
        issued_at=Instant(int(str(body["iat"])) * 1000),
        expires_at=Instant(int(str(body["exp"])) * 1000),
        id=str(body["jti"]),
    )


def _check_names(token: LeaseToken, market: str, provider: ProviderId) -> None:
    if token.market != market:
        raise _denied("TOKEN_ISSUER", f"it is of the market {token.market}, not {market}")
    if token.lease.provider != provider:
        raise _denied("TOKEN_AUDIENCE", f"it is for the provider {token.lease.provider}, not {provider}")


def _check_times(token: LeaseToken, at: Instant) -> None:
    if token.expires_at - token.issued_at > LIFETIME_MOST:
        raise _denied("TOKEN_LIVES_TOO_LONG", "it is good for more than 15 minutes")
    if at >= token.expires_at:
        raise _denied("TOKEN_EXPIRED", "it has expired")
    if at + LEEWAY < token.issued_at:
        raise _denied("TOKEN_NOT_YET", "it is good only later: a clock is wrong here or at the coordinator")


def _denied(reason: str, why: str, code: StatusCode = StatusCode.UNAUTHENTICATED) -> Denied:
    return Denied(
        code, reason, f"the lease token is refused: {why}", remedy="ask the coordinator for a fresh one"
    )
