"""Secrets: filled in on the tenant's side, hashed as they are sent, and never shown."""

from __future__ import annotations

import pytest

from provider import sdl
from tests.sdl_texts import BASE, problems_of, with_service

TEXT = with_service(
    "env: ['A=${ONE}', 'B=$${ONE}', 'C=$ONE ${1X} $(ONE)']\n"
    "args: ['${ONE}']\n"
    "credentials: {host: reg.io, username: '${USER}', password: '${ONE}'}"
)
FILES = {
    "a.env": "# secrets\nONE=from-file\nexport TWO='2 2'\n\nA=not-this\n",
    "broken.env": "ONE=1\nno equals\n",
}


def read(text: str, variables: dict[str, str] | None = None) -> sdl.Parsed:
    return sdl.read(text, substitution=sdl.Substitution(variables=variables, read_file=FILES.get))


def test_without_a_source_the_text_stays_as_written() -> None:
    service = sdl.read(TEXT).manifest.groups[0].services[0]
    assert service.env == ("A=${ONE}", "B=$${ONE}", "C=$ONE ${1X} $(ONE)")
    warnings = [each.what for each in problems_of(TEXT)]
    assert warnings == ["${ONE} is not filled in", "${ONE} is not filled in"]


def test_values_go_into_env_and_credentials_only() -> None:
    parsed = read(TEXT, {"ONE": "secret1", "USER": "me"})
    service = parsed.manifest.groups[0].services[0]
    assert service.env == ("A=secret1", "B=${ONE}", "C=$ONE ${1X} $(ONE)")
    assert service.args == ("${ONE}",)
    assert service.credentials is not None
    assert (service.credentials.username, service.credentials.password.reveal()) == ("me", "secret1")
    assert b"secret1" in sdl.manifest_json(parsed.manifest)
    assert sdl.manifest_hash(parsed.manifest) == sdl.hash_of_json(sdl.manifest_json(parsed.manifest))
    assert sdl.manifest_hash(parsed.manifest) != sdl.manifest_hash(
        read(TEXT, {"ONE": "secret2", "USER": "me"}).manifest
    )


def test_a_value_is_not_looked_at_again() -> None:
    service = read(with_service("env: ['A=${ONE}']"), {"ONE": "${TWO}"}).manifest.groups[0].services[0]
    assert service.env == ("A=${TWO}",)


def test_a_value_that_is_not_given() -> None:
    with pytest.raises(sdl.SdlInvalid) as caught:
        read(TEXT, {"ONEE": "hush-hush"})
    assert [each.path for each in caught.value.problems] == [
        "services.web.env[0]",
        "services.web.credentials.username",
        "services.web.credentials.password",
    ]
    assert caught.value.problems[0].hint == 'did you mean "ONEE"?'
    assert "hush" not in sdl.show(caught.value, "x")


def test_values_are_checked_like_any_text() -> None:
    with pytest.raises(sdl.SdlInvalid) as caught:
        read(TEXT, {"ONE": "five5", "USER": "me"})
    (problem,) = caught.value.problems
    assert problem.what == "the password is too short"
    assert "five5" not in sdl.show(caught.value, "x")


def test_env_files_come_before_env_which_wins() -> None:
    service = read(with_service("env_file: [a.env]\nenv: ['A=mine']")).manifest.groups[0].services[0]
    assert service.env == ("ONE=from-file", "TWO=2 2", "A=mine")
    alone = read(with_service("env_file: [a.env]")).manifest.groups[0].services[0]
    assert alone.env == ("ONE=from-file", "TWO=2 2", "A=not-this")


def test_env_files_that_cannot_be_used() -> None:
    text = with_service("env_file: [absent.env, broken.env]")
    with pytest.raises(sdl.SdlInvalid) as caught:
        read(text)
    assert [each.what for each in caught.value.problems] == [
        'the file "absent.env" cannot be read',
        'line 2 of "broken.env" is not NAME=value',
    ]


def test_nothing_to_fill_in_changes_nothing() -> None:
    assert read(BASE, {"ONE": "1"}) == sdl.read(BASE)


def test_env_file_lines() -> None:
    values, faulty = sdl.parse_env_file('A=1\n B = "x y" \n#C=2\nD\n=E\nF=a=b\nG=\n')
    assert values == {"A": "1", "B": "x y", "F": "a=b", "G": ""}
    assert faulty == (4, 5)


def test_a_substitution_never_shows_its_values() -> None:
    assert "hush" not in repr(sdl.Substitution(variables={"A": "hush"}))
