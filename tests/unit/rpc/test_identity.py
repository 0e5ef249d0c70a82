"""Identities: whole or not at all, kept privately, and clear about what is wrong with them."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from provider.domain.errors import ConfigError, PeerError
from provider.domain.moment import HOUR, Instant
from provider.domain.secret import Secret
from provider.rpc.identity import (
    FILE_NAME,
    Identity,
    assemble,
    load,
    new_key,
    read_certificate,
    save,
    signing_request,
)
from provider.rpc.join import PREFIX, JoinToken, decode, encode
from provider.rpc.member import Member, Role
from provider.sim.authority import ThrowawayAuthority

NOW = Instant(1_800_000_000_000)
AUTHORITY = ThrowawayAuthority("sim.example", coordinator="10.0.0.1:7443")


def member(role: Role = Role.PROVIDER, name: str = "p1") -> Identity:
    return AUTHORITY.member(role, name, at=NOW)


def test_a_certificate_says_who_it_is_of_and_how_long() -> None:
    certificate = member().certificate
    assert certificate.member == Member(role=Role.PROVIDER, market="sim.example", name="p1")
    assert (certificate.not_before, certificate.not_after) == (NOW - 1000, NOW + 24 * HOUR)
    assert member().renew_at == NOW - 1000 + (24 * HOUR + 1000) * 2 // 3


def test_a_signing_request_names_nobody() -> None:
    request = x509.load_pem_x509_csr(signing_request(new_key()).encode())
    assert request.is_signature_valid
    assert (len(request.subject), len(request.extensions)) == (0, 0)


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x"])
def test_what_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(PeerError, match="not a member's certificate"):
        read_certificate(text)


def test_parts_that_do_not_belong_together_are_refused() -> None:
    one = member()
    parts = {"certificate_pem": one.certificate_pem, "authority_pem": one.authority_pem, "coordinator": ""}
    with pytest.raises(PeerError, match="the certificate is for another key"):
        assemble(key=new_key(), **parts)
    with pytest.raises(PeerError, match="cannot be read"):
        assemble(key=Secret("x"), **parts)


def test_it_is_kept_where_nobody_else_can_read(tmp_path: Path) -> None:
    home = tmp_path / "state"
    save(member(), home)
    save(member(name="p2"), home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == [FILE_NAME]
    loaded = load(home, Role.PROVIDER, at=NOW, market="sim.example")
    assert (loaded.member.name, loaded.coordinator) == ("p2", "10.0.0.1:7443")
    assert "PRIVATE" not in repr(loaded)


def test_a_crash_while_writing_leaves_the_old_one(tmp_path: Path) -> None:
    save(member(), tmp_path)
    (tmp_path / (FILE_NAME + ".new")).write_text("{half")
    assert load(tmp_path, Role.PROVIDER, at=NOW).member.name == "p1"
    save(member(name="p2"), tmp_path)
    assert load(tmp_path, Role.PROVIDER, at=NOW).member.name == "p2"


def test_a_place_that_cannot_be_written_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written: Not a directory") as wrong:
        save(member(), tmp_path / "file" / "state")
    assert wrong.value.remedy == "check the disk and who owns that folder"


def test_what_is_wrong_is_said_with_what_to_do(tmp_path: Path) -> None:
    def problem(at: Instant = NOW, role: Role = Role.PROVIDER, market: str | None = None) -> tuple[str, str]:
        with pytest.raises(ConfigError) as wrong:
            load(tmp_path, role, at=at, market=market)
        return wrong.value.what.replace(str(tmp_path), "DIR"), wrong.value.remedy or ""

    enroll = "run `provider enroll TOKEN` with a new join token"
    assert problem() == (
        "this provider belongs to no market yet: DIR/identity.json is missing",
        "run `provider enroll TOKEN`; the market's owner makes one with `coordinator invite`",
    )
    save(member(), tmp_path)
    assert problem(Instant(NOW + 25 * HOUR)) == (
        "the certificate of the provider p1 of sim.example expired at 2027-01-16T08:00:00.000Z",
        enroll,
    )
    assert problem(Instant(NOW - HOUR))[1] == "set this machine's clock"
    assert problem(market="other")[0] == "DIR/identity.json is for the market sim.example, not other"
    assert problem(role=Role.TENANT)[0] == (
        "DIR/identity.json is of the provider p1 of sim.example, not of a tenant"
    )
    path = tmp_path / FILE_NAME
    path.chmod(0o644)
    assert problem() == (
        "DIR/identity.json holds a key and others can read it",
        f"chmod 600 {path}",
    )
    for damage in ("", "[]", "{}", json.dumps({**json.loads(path.read_text()), "key_pem": "x"})):
        path.write_text(damage)
        path.chmod(0o600)
        assert problem()[1] == enroll


@pytest.mark.parametrize(
    "name",
    [
        "",
        "spiffe://m/provider",
        "spiffe://m/coordinator/x",
        "spiffe://m/admin/x",
        "spiffe://M/provider/x",
        "spiffe://m/provider/../x",
        "https://m/provider/x",
        "spiffe://m/provider/x/y",
    ],
)
def test_names_that_are_nobodys(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Member.parse(name)


def test_names_are_read_back() -> None:
    for each in (
        Member(role=Role.COORDINATOR, market="m"),
        Member(role=Role.TENANT, market="m.example", name="alice"),
    ):
        assert Member.parse(each.spiffe_id) == each


TOKEN = JoinToken(
    member=Member(role=Role.PROVIDER, market="sim.example", name="p1"),
    address="10.0.0.1:7443",
    enrolment_address="10.0.0.1:7444",
    authority_pem=AUTHORITY.pem,
    secret=Secret("hunter2"),
)


def test_a_join_token_is_read_back_even_from_sloppy_paste() -> None:
    text = encode(TOKEN)
    assert text.startswith(PREFIX)
    read = decode(f"  {text}\n")
    assert replace(read, secret=TOKEN.secret) == TOKEN
    assert read.secret.reveal() == "hunter2"
    assert "hunter2" not in repr(read)


def test_a_join_token_cut_anywhere_says_so() -> None:
    text = encode(TOKEN)
    for length in range(len(PREFIX), len(text) - 1):
        with pytest.raises(ConfigError, match="cut off or altered"):
            decode(text[:length])


def test_a_join_token_altered_anywhere_is_not_taken() -> None:
    text = encode(TOKEN)
    for place in range(len(PREFIX), len(text) - 1, 7):
        other = "A" if text[place] != "A" else "B"
        with pytest.raises(ConfigError, match="cut off or altered"):
            decode(text[:place] + other + text[place + 1 :])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts with gpj1_"),
        ("hello", "starts with gpj1_"),
        ("gpj2_abc", "newer version"),
        (PREFIX, "cut"),
    ],
)
def test_what_is_no_join_token(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as wrong:
        decode(text)
    assert wrong.value.remedy is not None
