"""The documents as a test: what they name exists, and what exists is named.

Metrics are held to ``docs/metrics.md`` beside their table (``tests/unit/telemetry``), the lease's diagram
beside its own (``tests/unit/core``); paths of one machine by ``test_tidy``.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
import shlex
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import provider
from provider.app.cli import coordinator, tenant
from provider.app.cli import provider as operator
from provider.app.config import ENV_PREFIX, ProviderConfig
from provider.domain.market import CloseReason

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
DECISIONS = tuple(sorted((DOCS / "decisions").glob("*.md")))
PAGES = (*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")))
PROGRAMS = {
    "provider": operator.parser,
    "coordinator": coordinator.parser,
    "tenant": tenant.parser,
}
DECISION_PARTS = ["## Context", "## Decision", "## Consequence", "## What would change our mind"]
DECISION_LINES_MOST = 40
ARCHITECTURE_LINES_MOST = 150
GLOSSARY_LINES_MOST = 65
TREES = ("provider/", "proto/", "manifests/", "tests/", "docs/", "scripts/")


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text(path), re.DOTALL | re.MULTILINE)


def spans(part: str) -> list[str]:
    """The inline code of ``part``."""
    return re.findall(r"`([^`\n]+)`", part)


def rows(path: Path) -> Iterator[list[str]]:
    """The cells of each table row that begins with code."""
    for line in text(path).splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


# --- settings


def settings(kind: type, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Every setting's dotted name and default."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from settings(hints[field.name], f"{prefix}{field.name}.")
        elif field.default_factory is not dataclasses.MISSING:
            yield prefix + field.name, field.default_factory()
        else:
            yield prefix + field.name, field.default


def shown(default: object) -> str:
    """A default as the page writes it."""
    match default:
        case None:
            return "none"
        case "":
            return "empty"
        case bool():
            return "`on`" if default else "`off`"
        case tuple():
            return f"`[{', '.join(str(each) for each in default)}]`"
        case Mapping():
            pairs = (f'"{key}": {value}' for key, value in default.items())
            return f"`{{{', '.join(pairs)}}}`"
        case _:
            return f"`{default}`"


def test_every_setting_is_documented_and_no_other() -> None:
    documented = {cells[0].strip("`"): (cells[2], cells[3]) for cells in rows(DOCS / "configuration.md")}
    expected = {
        each: (shown(default), f"`{ENV_PREFIX}{each.upper().replace('.', '__')}`")
        for each, default in settings(ProviderConfig)
    }
    assert documented == expected


# --- commands


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def test_every_command_is_documented_and_no_other() -> None:
    documented = [cells[0].strip("`") for cells in rows(DOCS / "commands.md")]
    expected = [f"{program} {each}" for program, make in PROGRAMS.items() for each in subcommands(make())]
    assert sorted(documented) == sorted(expected)


def test_every_command_has_one_line_of_help() -> None:
    for program, make in PROGRAMS.items():
        (listing,) = (each for each in make()._actions if isinstance(each, argparse._SubParsersAction))
        helped = {each.dest: each.help for each in listing._choices_actions}
        assert sorted(helped) == sorted(listing.choices), program
        assert all(helped.values()), program


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every line of a shell block that runs one of our programs: page, words."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0].removeprefix(".venv/bin/") in PROGRAMS:
                    stop = next((words.index(each) for each in ("|", ">", "&") if each in words), len(words))
                    yield name(page), [words[0].removeprefix(".venv/bin/"), *words[1:stop]]


def test_commands_in_the_documents_are_understood(capsys: pytest.CaptureFixture[str]) -> None:
    refused = []
    for page, (program, *arguments) in command_lines():
        try:
            parsed = PROGRAMS[program]().parse_args(arguments)
        except SystemExit:
            refused.append(f"{page}: {program} {shlex.join(arguments)}: {capsys.readouterr().err}")
            continue
        first = next(iter(getattr(parsed, "argv", [])), "")
        if first.startswith("-") and first != "--":
            refused.append(f"{page}: {program} {shlex.join(arguments)}: {first} is taken for the command")
    assert refused == []


def test_commands_are_found_in_the_documents() -> None:
    """So that the test above cannot pass by finding nothing."""
    assert {words[0] for _, words in command_lines()} == set(PROGRAMS)


def test_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", text(ROOT / "Makefile"), re.MULTILINE))
    for page in PAGES:
        for code in (*spans(text(page)), *blocks(page, "sh")):
            for target in re.findall(r"(?:^|[ ;&])make (?:[A-Z_]+=\S+ )*([a-z]+)", code, re.MULTILINE):
                assert target in targets, f"{name(page)}: make {target}"


# --- words


def domain_classes() -> set[str]:
    trees = (ast.parse(text(path)) for path in (ROOT / "provider" / "domain").glob("*.py"))
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def test_glossary_names_every_class_of_the_domain_and_no_other() -> None:
    page = DOCS / "glossary.md"
    named = {span for span in spans(text(page)) if re.fullmatch(r"[A-Z]\w+", span)}
    assert named == domain_classes()
    assert text(page).count("\n") <= GLOSSARY_LINES_MOST


# --- pages


def test_relative_links_resolve() -> None:
    broken = [
        f"{name(page)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text(page))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_architecture_names_only_what_exists() -> None:
    page = DOCS / "architecture.md"
    assert text(page).count("\n") <= ARCHITECTURE_LINES_MOST
    named = {span for span in spans(text(page)) if span.startswith(TREES)}
    assert len(named) > 20, "the map names its places"
    missing = {span for span in named if not (ROOT / span).exists()}
    for place, what in (cells[:2] for cells in rows(page)):
        parts = [each for each in spans(what) if re.fullmatch(r"[\w/]+(/|\.py|\.proto)", each)]
        folders = (ROOT / place.strip("`"), ROOT)
        missing |= {each for each in parts if not any((folder / each).exists() for folder in folders)}
    assert missing == set()


def test_architecture_maps_every_part() -> None:
    mapped = {cells[0].strip("`") for cells in rows(DOCS / "architecture.md")}
    parts = {
        f"provider/{path.name}{'/' if path.is_dir() else ''}"
        for path in (ROOT / "provider").iterdir()
        if not path.name.startswith("__")
    }
    assert parts - mapped == set()


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_decision_has_its_parts(page: Path) -> None:
    lines = text(page).splitlines()
    assert lines[0].startswith(f"# {page.name[:4]}: ")
    assert [line for line in lines if line.startswith("## ")] == DECISION_PARTS
    assert len(lines) <= DECISION_LINES_MOST


def test_decisions_are_numbered_without_gaps() -> None:
    assert [page.name[:4] for page in DECISIONS] == [f"{n:04}" for n in range(1, len(DECISIONS) + 1)]


def test_nothing_is_promised_for_later() -> None:
    later = re.compile(
        r"coming soon|work in progress|not (yet )?implemented|under construction|\btbd\b", re.I
    )
    assert [f"{name(page)}: {found[0]}" for page in PAGES if (found := later.search(text(page)))] == []


# --- figures and messages that are also in the code


@cache
def messages() -> str:
    """All of the program's text, literals that were broken over lines put together again."""
    files = sorted((ROOT / "provider").rglob("*.py"))
    sources = "\n".join(text(path) for path in files if not path.stem.endswith(("_pb2", "_pb2_grpc")))
    return re.sub(r'"\s*\n\s*f?"', "", sources)


def test_messages_that_are_explained_are_those_that_are_said() -> None:
    section = text(DOCS / "operating.md").partition("## When something is wrong")[2]
    quoted = [
        span for line in section.splitlines() if line.startswith("|") for span in spans(line.split("|")[1])
    ]
    pieces = [piece.strip(" :;") for span in quoted for piece in re.split(r"\.\.\.|\b\d+\b|\bGPU-", span)]
    words = [piece for piece in pieces if " " in piece]
    assert len(words) > 20
    unsaid = [
        piece for piece in words if piece not in messages() and piece.replace(" ", "_") not in messages()
    ]
    assert unsaid == []


def test_every_end_of_a_lease_is_explained() -> None:
    section = text(DOCS / "operating.md").partition("## Why a lease ended")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `(\w+)` \| .+ \| (\w+) \|$", section, re.MULTILINE)
    assert explained == [(reason.value, reason.fault.value) for reason in CloseReason]


def default_ports() -> set[str]:
    config, run = ProviderConfig(), subcommands(coordinator.parser())["run"]
    listening = [config.lease.listen, config.telemetry.listen, config.ingress.http, config.ingress.https]
    listening += [run.get_default("listen"), run.get_default("enrolment_listen")]
    return {address.rpartition(":")[2] for address in listening} | {config.runtime.ports}


def test_ports_are_those_of_the_code() -> None:
    table = {cells[0] for cells in rows_of_ports()}
    assert {re.split(r"[/ ]", cell)[0] for cell in table} == default_ports()


def rows_of_ports() -> Iterator[list[str]]:
    section = text(DOCS / "operating.md").partition("## Ports and firewalls")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if re.match(r"\| \d", line):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_image_is_of_this_version_and_its_ports() -> None:
    dockerfile = text(ROOT / "Dockerfile")
    assert f'image.version="{provider.__version__}"' in dockerfile
    exposed = re.findall(r"^EXPOSE (.*)$", dockerfile, re.MULTILINE)[0].split()
    config = ProviderConfig()
    assert exposed == [each.rpartition(":")[2] for each in (config.lease.listen, config.telemetry.listen)]
    assert config.telemetry.listen in dockerfile, "the health check asks where the daemon listens"
    assert f"VOLUME {config.state_dir}" in dockerfile


def test_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[([^\]]+)\]", text(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert versions[0] in {"Unreleased", provider.__version__}
    assert provider.__version__ in versions
