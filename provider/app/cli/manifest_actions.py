"""What ``tenant``'s manifest commands do: read a file, print what it means or what is wrong with it.

Owns output and exit statuses; the meaning is ``provider.sdl``'s.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from provider import sdl
from provider.app import manifest_files
from provider.app.cli.entry import DONE, USAGE
from provider.app.manifest_files import Secrets
from provider.domain.errors import ConfigError


def show_manifest(args: argparse.Namespace) -> int:
    return _print(sdl.manifest_json(_load(args).manifest))


def show_groups(args: argparse.Namespace) -> int:
    return _print(sdl.group_specs_json(_load(args).groups))


def show_hash(args: argparse.Namespace) -> int:
    print(sdl.manifest_hash(_load(args).manifest))
    return DONE


def show_schema(args: argparse.Namespace) -> int:
    from provider.sdl.schema import json_schema

    print(json.dumps(json_schema(), indent=2))
    return DONE


def check(args: argparse.Namespace) -> int:
    """Every file is looked at; the status is that of the worst."""
    reports = [(path, *_problems(path, args)) for path in args.files]
    if args.json:
        rows = [
            {"file": path, "ok": is_ok, "problems": [each.as_json() for each in problems]}
            for path, is_ok, problems in reports
        ]
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        for path, is_ok, problems in reports:
            for each in problems:
                print(sdl.render(each, path))
            print(_verdict(path, problems, is_ok=is_ok))
    return DONE if all(is_ok for _, is_ok, _ in reports) else USAGE


def init(args: argparse.Namespace) -> int:
    """Writes a starter; an existing file is never replaced."""
    from provider.app.cli.manifest_questions import answers_from
    from provider.sdl.starter import starter

    try:
        text = starter(answers_from(args))
    except sdl.SdlInvalid as invalid:
        what = "that does not make a manifest:\n" + sdl.show(invalid, "starter")
        raise ConfigError(what, remedy="change the option that the line names") from invalid
    if args.output is None:
        print(text, end="")
        return DONE
    try:
        with Path(args.output).open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        remedy = "name another file with --output"
        raise ConfigError(f"{args.output} cannot be written: {error.strerror}", remedy=remedy) from error
    print(f"{args.output} written. Next: tenant check {args.output}", file=sys.stderr)
    return DONE


def _secrets(args: argparse.Namespace) -> Secrets:
    return Secrets(env_files=tuple(args.env_file), from_environment=args.env)


def _load(args: argparse.Namespace) -> sdl.Parsed:
    parsed = manifest_files.load(args.file, lenient=args.lenient, secrets=_secrets(args))
    for each in parsed.warnings:
        print(sdl.render(each, args.file), file=sys.stderr)
    return parsed


def _problems(path: str, args: argparse.Namespace) -> tuple[bool, tuple[sdl.Problem, ...]]:
    try:
        parsed = manifest_files.parse(path, lenient=args.lenient, secrets=_secrets(args))
    except sdl.SdlInvalid as invalid:
        return False, invalid.problems
    except ConfigError as error:
        return False, (sdl.Problem(line=1, column=1, what=error.what, hint=error.remedy or ""),)
    return True, parsed.warnings


def _verdict(path: str, problems: tuple[sdl.Problem, ...], *, is_ok: bool) -> str:
    errors = sum(each.severity is sdl.Severity.ERROR for each in problems)
    warnings = len(problems) - errors
    counts = [
        f"{count} {word}{'s' * (count > 1)}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    return f"{path}: {'ok' if is_ok else 'not valid'}" + (f" ({', '.join(counts)})" if counts else "")


def _print(json_bytes: bytes) -> int:
    sys.stdout.buffer.write(json_bytes + b"\n")
    sys.stdout.buffer.flush()
    return DONE
