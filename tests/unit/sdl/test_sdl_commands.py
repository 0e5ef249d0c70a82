"""``tenant``'s manifest commands: what they print where, and with which exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from provider import sdl
from provider.app import manifest_files
from provider.app.cli.tenant import main
from provider.app.manifest_files import Secrets
from provider.domain.errors import ConfigError
from tests.sdl_texts import BASE, changed, with_service

WRONG = changed(("image: nginx:1", "image: nginx:1\n    depends_on: [db]"))


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "good.yaml"
    path.write_text(BASE)
    return str(path)


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    return str(path)


def test_manifest_groups_and_hash(good: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    parsed = sdl.read(BASE)
    for command, expected in (
        ("manifest", sdl.manifest_json(parsed.manifest)),
        ("groups", sdl.group_specs_json(parsed.groups)),
        ("hash", sdl.manifest_hash(parsed.manifest).encode()),
    ):
        assert main([command, good]) == 0
        assert capsysbinary.readouterr().out == expected + b"\n"


@pytest.mark.parametrize("command", ["manifest", "groups", "hash"])
def test_a_wrong_file(command: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, wrong]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"{wrong}:5:5: error: services.web.depends_on" in captured.err
    assert "Try: " in captured.err
    assert main([command, "--lenient", wrong]) == 0
    assert "warning" in capsys.readouterr().err


def test_check(good: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", good]) == 0
    assert capsys.readouterr().out == f"{good}: ok\n"
    assert main(["check", good, wrong]) == 2
    out = capsys.readouterr().out
    assert f"{good}: ok\n" in out
    assert "    5 |     depends_on: [db]\n      |     ^\n" in out
    assert out.endswith(f"{wrong}: not valid (1 error)\n")
    assert main(["check", "--lenient", wrong]) == 0
    assert capsys.readouterr().out.endswith(f"{wrong}: ok (1 warning)\n")


def test_check_for_programs(good: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    absent = f"{good}.absent"
    assert main(["check", "--json", good, wrong, absent]) == 2
    first, second, third = json.loads(capsys.readouterr().out)
    assert first == {"file": good, "ok": True, "problems": []}
    assert (second["file"], second["ok"]) == (wrong, False)
    (problem,) = second["problems"]
    assert (problem["line"], problem["column"], problem["path"]) == (5, 5, "services.web.depends_on")
    assert (problem["severity"], problem["what"]) == ("error", 'unknown key "depends_on"')
    assert third["ok"] is False


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hash", "no/such/file"]) == 2
    assert capsys.readouterr().err == (
        "no/such/file cannot be read: No such file or directory\n  Try: name a file that is there\n"
    )


def test_a_file_without_end(capsys: pytest.CaptureFixture[str]) -> None:
    """No more than a manifest's size is ever read."""
    assert main(["check", "/dev/zero"]) == 2
    assert "the file has 1,048,577 bytes" in capsys.readouterr().out


def test_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(with_service("env: ['A=${ONE}', 'B=${TWO}']\nenv_file: [more.env]"))
    (tmp_path / "more.env").write_text("C=3\n")
    (tmp_path / "secrets.env").write_text("ONE=file\n")
    monkeypatch.setenv("ONE", "environment")
    monkeypatch.setenv("TWO", "two")
    secrets = Secrets(env_files=(str(tmp_path / "secrets.env"),), from_environment=True)
    service = manifest_files.load(str(path), secrets=secrets).manifest.groups[0].services[0]
    assert service.env == ("C=3", "A=file", "B=two")
    unfilled = manifest_files.load(str(path)).manifest.groups[0].services[0]
    assert unfilled.env == ("C=3", "A=${ONE}", "B=${TWO}")
    with pytest.raises(ConfigError, match=r"no value is given for \$\{TWO\}"):
        manifest_files.load(str(path), secrets=Secrets(env_files=(str(tmp_path / "secrets.env"),)))
    with pytest.raises(ConfigError, match="cannot be read"):
        manifest_files.load(str(path), secrets=Secrets(env_files=("absent",)))


def test_init(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new.yaml"
    flags = ["--gpu", "h100", "--count", "2", "--image", "vllm/vllm-openai:v0.9", "--port", "8000"]
    assert main(["init", *flags, "-o", str(path)]) == 0
    assert main(["check", str(path)]) == 0
    (group,) = sdl.read(path.read_bytes()).groups
    assert group.gpu_count == 2
    capsys.readouterr()
    assert main(["init", "-o", str(path)]) == 2
    assert "cannot be written: File exists" in capsys.readouterr().err
    assert main(["init", "--port", "0"]) == 2
    assert "0 is not a port" in capsys.readouterr().err
    assert main(["init"]) == 0
    assert sdl.read(capsys.readouterr().out).groups[0].gpu_count == 0


def test_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"] == "http://json-schema.org/draft-07/schema#"
