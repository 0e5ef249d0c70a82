"""The ``bidding`` block: what it becomes, what is wrong with it, statements that are not to be trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from provider.app.audited import PrivateKey, fingerprint
from provider.app.bid_settings import bid_policy
from provider.app.cli.provider import main
from provider.app.config_reading import parse
from provider.core.bid_policy import BidPolicy, NumaPinning
from provider.domain.errors import ConfigError
from provider.domain.ids import ProviderId
from provider.domain.moment import HOUR
from provider.domain.resources import Attribute

NORTH = ProviderId("north")


def policy_of(**bidding: object) -> BidPolicy:
    return bid_policy(parse({"bidding": bidding}, {}, "provider.yaml").bidding, NORTH)


def test_nothing_set_limits_nothing() -> None:
    assert policy_of() == BidPolicy()


def test_all_of_it_arrives() -> None:
    policy = policy_of(
        owners_deny=["mallory"],
        filter=["gpus >= 1"],
        maintenance=["sun 02:00 4h"],
        overcommit_cpu=1.5,
        overbid=3,
        numa="strict",
        bids_per_minute=30,
        maintenance_ahead_s=7200,
    )
    assert policy.owners_deny == ("mallory",)
    assert [str(each) for each in policy.conditions] == ["gpus >= 1"]
    assert policy.maintenance[0].is_weekly
    assert str(policy.overcommit.cpu) == "1.5"
    assert (policy.overbid, policy.numa, policy.bids_per_minute) == (3, NumaPinning.STRICT, 30)
    assert policy.maintenance_ahead == 2 * HOUR


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("filter", ["gpus >= 1", "gpus"], "bidding.filter[1]: 'gpus' is not a condition"),
        ("maintenance", ["sunday"], "bidding.maintenance[0]: 'sunday' is not a window"),
        ("overcommit_memory", 0.5, "bidding.overcommit_memory: 0.5 is not a factor"),
        ("overbid", 0, "bidding.overbid: 0 is too small"),
        ("volumes_most", 0, "bidding.volumes_most: 0 is too small"),
        ("numa", "yes", "bidding.numa: 'yes' is not a way to pin"),
        ("audited", "/nowhere", "bidding.audited: /nowhere is no folder"),
    ],
)
def test_what_means_nothing_is_named(setting: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        policy_of(**{setting: value})
    assert raised.value.what.startswith(said)
    assert raised.value.remedy


# --- auditors

KINDS = ("p256", "ed25519")


class Auditor:
    """With a key on disk, and a provider's folder for what it signs."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.key: PrivateKey = (
            ec.generate_private_key(ec.SECP256R1())
            if kind == "p256"
            else ed25519.Ed25519PrivateKey.generate()
        )
        self.private, self.public, self.audited = (
            folder / "key.pem",
            folder / "public.pem",
            folder / "audited",
        )
        self.audited.mkdir()
        self.private.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.public.write_bytes(public)

    def keep(self, text: str, name: str = "one.json") -> None:
        (self.audited / name).write_text(text)

    def settings(self, **auditors: Path) -> BidPolicy:
        return policy_of(
            audited=str(self.audited), auditors={name: str(path) for name, path in auditors.items()}
        )


@pytest.fixture(params=KINDS)
def auditor(request: pytest.FixtureRequest, tmp_path: Path) -> Auditor:
    return Auditor(tmp_path, request.param)


def signed(auditor: Auditor, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    argv = ["attributes", "sign", "north", "region=eu", "tier=gold", "--key", str(auditor.private), *more]
    assert main(argv) == 0
    return capsys.readouterr().out


def test_what_a_named_auditor_signed_counts(auditor: Auditor, capsys: pytest.CaptureFixture[str]) -> None:
    auditor.keep(signed(auditor, capsys, "--auditor", "tuv", "--expires", "2027-01-31T00:00:00Z"))
    found = auditor.settings(tuv=auditor.public).audited["tuv"]
    assert found.attributes == (Attribute(key="region", value="eu"), Attribute(key="tier", value="gold"))
    assert found.expires_at == 1_801_353_600_000


def test_an_auditor_may_be_called_by_its_key(auditor: Auditor, capsys: pytest.CaptureFixture[str]) -> None:
    auditor.keep(signed(auditor, capsys))
    name = fingerprint(auditor.key.public_key())
    assert set(auditor.settings().audited) == {name}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attributes": {"region": "us"}}, "tuv has not signed this"),
        ({"expires": "2099-01-01T00:00:00Z"}, "tuv has not signed this"),
        ({"signature": "!!"}, "tuv has not signed this"),
        ({"signature": ""}, "tuv has not signed this"),
        ({"provider": "south"}, "is about south, not about north"),
        ({"auditor": "nobody"}, "there is no key of the auditor nobody"),
        ({"auditor": "sha256:" + "0" * 64}, "there is no key of the auditor sha256:"),
        ({"attributes": {"region": 1}}, "is no statement"),
        ({"more": "x"}, "is no statement"),
    ],
)
def test_what_was_not_signed_does_not_count(
    auditor: Auditor, capsys: pytest.CaptureFixture[str], change: dict[str, object], said: str
) -> None:
    whole = json.loads(signed(auditor, capsys, "--auditor", "tuv"))
    auditor.keep(json.dumps(whole | change))
    with pytest.raises(ConfigError, match=r"one\.json") as raised:
        auditor.settings(tuv=auditor.public)
    assert said in raised.value.what


def test_a_key_that_is_not_the_one_named_vouches_for_nobody(
    auditor: Auditor, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    theirs = json.loads(signed(Auditor(other, "ed25519"), capsys))
    theirs["auditor"] = fingerprint(auditor.key.public_key())
    auditor.keep(json.dumps(theirs))
    with pytest.raises(ConfigError, match="its key is not the one"):
        auditor.settings()


def test_two_statements_of_one_auditor(auditor: Auditor, capsys: pytest.CaptureFixture[str]) -> None:
    text = signed(auditor, capsys, "--auditor", "tuv")
    auditor.keep(text)
    auditor.keep(text, "two.json")
    with pytest.raises(ConfigError, match=r"two\.json: a second statement of tuv"):
        auditor.settings(tuv=auditor.public)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--expires", "soon"], "--expires: 'soon' is no instant"),
        (["--key", "/nowhere"], "/nowhere cannot be read"),
        (["--key", __file__], "is no private key"),
    ],
)
def test_what_cannot_be_signed_says_so(
    auditor: Auditor, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main(["attributes", "sign", "north", "a=b", "--key", str(auditor.private), *more]) == 2
    assert said in capsys.readouterr().err


def test_a_key_of_another_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p384.pem"
    key = ec.generate_private_key(ec.SECP384R1())
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    assert main(["attributes", "sign", "north", "a=b", "--key", str(path)]) == 2
    assert "neither a P-256 nor an Ed25519 key" in capsys.readouterr().err
    assert main(["attributes", "sign", "north", "a", "--key", str(path)]) == 2
    assert "'a' is no attribute" in capsys.readouterr().err
