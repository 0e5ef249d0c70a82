"""Join tokens: the one text that an operator types to become a member of a market.

``gpj1_`` and the base64url of a JSON object, followed by four bytes of its sha256, so that a token cut
off or mistyped is told apart from one that the coordinator does not know. The secret in it is good once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from provider.domain.errors import ConfigError
from provider.domain.secret import Secret
from provider.rpc.member import Member

PREFIX = "gpj1_"
_CHECK_BYTES = 4
_REMEDY = "copy all of it, or ask the market's owner for a new one (`coordinator invite`)"


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """Who may join, where, whom to trust there, and the secret that proves the invitation."""

    member: Member
    address: str
    """host:port of the coordinator's services, for certificates' holders."""
    enrolment_address: str
    """host:port of its EnrolmentService, for those who have none yet."""
    authority_pem: str
    secret: Secret


def encode(token: JoinToken) -> str:
    """The text to hand over; a secret."""
    authority = x509.load_pem_x509_certificate(token.authority_pem.encode()).public_bytes(Encoding.DER)
    body = {
        "v": 1,
        "role": token.member.role.value,
        "name": token.member.name,
        "market": token.member.market,
        "address": token.address,
        "enrolment": token.enrolment_address,
        "ca": base64.b64encode(authority).decode(),
        "secret": token.secret.reveal(),
    }
    raw = json.dumps(body, separators=(",", ":")).encode()
    return PREFIX + base64.urlsafe_b64encode(raw + _check(raw)).decode().rstrip("=")


def decode(text: str) -> JoinToken:
    """From what was typed. ``ConfigError`` says whether it is no token, cut or altered, or too new."""
    text = text.strip()
    if not text.startswith("gpj"):
        raise ConfigError(f"a join token starts with {PREFIX}", remedy=_REMEDY)
    if not text.startswith(PREFIX):
        raise ConfigError("the join token is of a newer version", remedy="update this software")
    body = _body(text.removeprefix(PREFIX))
    try:
        member = Member.checked(role=body["role"], market=body["market"], name=body["name"])
        authority = x509.load_der_x509_certificate(base64.b64decode(body["ca"], validate=True))
    except (KeyError, ValueError, binascii.Error) as error:
        raise ConfigError(f"the join token names nobody: {error}", remedy=_REMEDY) from error
    return JoinToken(
        member=member,
        address=body["address"],
        enrolment_address=body["enrolment"],
        authority_pem=authority.public_bytes(Encoding.PEM).decode(),
        secret=Secret(body["secret"]),
    )


def _body(encoded: str) -> dict[str, str]:
    damaged = ConfigError("the join token is cut off or altered", remedy=_REMEDY)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise damaged from None
    raw, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
    if _check(raw) != check:
        raise damaged
    try:
        body = json.loads(raw)
    except ValueError:
        raise damaged from None
    wanted = ("role", "name", "market", "address", "enrolment", "ca", "secret")
    if not isinstance(body, dict) or not all(isinstance(body.get(key), str) for key in wanted):
        raise damaged
    return body


def _check(raw: bytes) -> bytes:
    return hashlib.sha256(raw).digest()[:_CHECK_BYTES]
