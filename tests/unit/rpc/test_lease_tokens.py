"""Lease tokens: everything that must make one invalid does, each under its own name."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from provider.domain.ids import LeaseId, ProviderId
from provider.domain.moment import MINUTE, Instant
from provider.domain.secret import Secret
from provider.rpc.identity import new_key, public_key_pem
from provider.rpc.status import Denied
from provider.rpc.tokens import LEEWAY, TYPE, LeaseToken, Scope, issue, key_id, require, verify

NOW = Instant(1_800_000_000_000)
KEY = new_key()
PUBLIC = public_key_pem(KEY)
LEASE = LeaseId.parse("alice/7/1/1/p1")
TOKEN = LeaseToken(
    market="sim",
    lease=LEASE,
    scopes=(Scope.LOGS, Scope.EXEC),
    issued_at=NOW,
    expires_at=Instant(NOW + 15 * MINUTE),
    id="t1",
)


def body() -> dict[str, Any]:
    options: Any = {"verify_signature": False}
    return jwt.decode(issue(TOKEN, KEY, key_id(PUBLIC)), options=options)


def signed(claims: dict[str, Any], key: Secret = KEY, alg: str = "ES256", **header: Any) -> str:
    headers = {"typ": TYPE, "kid": key_id(PUBLIC), **header}
    return jwt.encode(claims, key.reveal(), algorithm=alg, headers=headers)


def check(text: str, at: Instant = NOW, keys: tuple[str, ...] = (PUBLIC,)) -> LeaseToken:
    return verify(text, keys, market="sim", provider=ProviderId("p1"), at=at)


def refusal(text: str, at: Instant = NOW, keys: tuple[str, ...] = (PUBLIC,)) -> str:
    with pytest.raises(Denied) as denied:
        check(text, at, keys)
    assert denied.value.code.name == "UNAUTHENTICATED"
    return denied.value.reason


def test_what_was_issued_is_read_back() -> None:
    assert check(issue(TOKEN, KEY, key_id(PUBLIC))) == TOKEN


def test_any_of_the_markets_keys_will_do() -> None:
    older = public_key_pem(new_key())
    assert check(issue(TOKEN, KEY, key_id(PUBLIC)), keys=(older, PUBLIC)) == TOKEN


def test_time_is_what_was_passed_in() -> None:
    text = issue(TOKEN, KEY, key_id(PUBLIC))
    assert check(text, Instant(NOW + 15 * MINUTE - 1)) == TOKEN
    assert refusal(text, Instant(NOW + 15 * MINUTE)) == "TOKEN_EXPIRED"
    assert check(text, Instant(NOW - LEEWAY)) == TOKEN
    assert refusal(text, Instant(NOW - LEEWAY - 1)) == "TOKEN_NOT_YET"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "other"}, "TOKEN_ISSUER"),
        ({"aud": "p2"}, "TOKEN_MALFORMED"),
        ({"aud": ["p1"]}, "TOKEN_MALFORMED"),
        ({"aud": "p2", "lease": "alice/7/1/1/p2"}, "TOKEN_AUDIENCE"),
        ({"sub": "mallory"}, "TOKEN_MALFORMED"),
        ({"lease": "alice/7"}, "TOKEN_MALFORMED"),
        ({"scope": "exec"}, "TOKEN_MALFORMED"),
        ({"exp": NOW // 1000 + 901}, "TOKEN_LIVES_TOO_LONG"),
        ({"exp": "soon"}, "TOKEN_MALFORMED"),
        ({"exp": True}, "TOKEN_MALFORMED"),
        ({"nbf": 0}, "TOKEN_MALFORMED"),
        *[
            ({name: None}, "TOKEN_MALFORMED")
            for name in ("iss", "aud", "sub", "lease", "scope", "iat", "jti")
        ],
    ],
)
def test_claims_that_do_not_hold(changes: dict[str, Any], reason: str) -> None:
    claims = {key: value for key, value in {**body(), **changes}.items() if value is not None}
    assert refusal(signed(claims)) == reason


def test_the_algorithm_is_ours_and_not_the_tokens() -> None:
    hmac = jwt.encode(body(), "x" * 32, algorithm="HS256", headers={"typ": TYPE, "kid": key_id(PUBLIC)})
    none = jwt.encode(body(), "", algorithm="none", headers={"typ": TYPE, "kid": key_id(PUBLIC)})
    rsa_key = rsa.generate_private_key(65537, 2048)
    rs256 = jwt.encode(body(), rsa_key, algorithm="RS256", headers={"typ": TYPE, "kid": key_id(PUBLIC)})
    other_curve = ec.generate_private_key(ec.SECP384R1())
    es384 = jwt.encode(body(), other_curve, algorithm="ES384", headers={"typ": TYPE, "kid": key_id(PUBLIC)})
    assert {refusal(text) for text in (hmac, none, rs256, es384)} == {"TOKEN_TYPE"}
    assert refusal(signed(body(), typ="JWT")) == "TOKEN_TYPE"


def test_the_public_key_is_not_a_password() -> None:
    """The classic confusion: an HMAC over the token with the public key as its secret."""
    part = [{"alg": "ES256", "typ": TYPE, "kid": key_id(PUBLIC)}, body()]
    text = ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in part)
    assert refusal(text + "." + base64.urlsafe_b64encode(b"0" * 64).decode().rstrip("=")) == "TOKEN_SIGNATURE"


def test_a_stranger_cannot_sign() -> None:
    stranger = new_key()
    assert refusal(signed(body(), stranger)) == "TOKEN_SIGNATURE"
    assert refusal(signed(body(), stranger, kid=key_id(public_key_pem(stranger)))) == "TOKEN_KEY_UNKNOWN"
    assert refusal(signed(body()), keys=()) == "TOKEN_KEY_UNKNOWN"


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "x" * 5000, "é.é.é"])
def test_what_is_no_token(text: str) -> None:
    assert refusal(text) == "TOKEN_MALFORMED"


def test_a_scope_of_a_newer_market_allows_nothing() -> None:
    assert check(signed({**body(), "scope": ["logs", "attach", 7]})).scopes == (Scope.LOGS,)


def test_a_token_is_for_one_tenant_one_lease_and_what_it_names() -> None:
    require(TOKEN, tenant="alice", lease=LEASE, scope=Scope.LOGS)
    for wanted, reason in (
        ({"tenant": "bob"}, "TOKEN_SUBJECT"),
        ({"lease": replace(LEASE, dseq=8)}, "TOKEN_LEASE"),
        ({"scope": Scope.MANIFEST}, "TOKEN_SCOPE"),
    ):
        with pytest.raises(Denied) as denied:
            require(TOKEN, **{"tenant": "alice", "lease": LEASE, "scope": Scope.LOGS, **wanted})  # type: ignore[arg-type]
        assert denied.value.reason == reason
