"""``tenant``'s commands for manifests: check, init, schema, and Akash's JSON and hash of a file.

Only parsers; the work is in ``manifest_actions``, imported when one of them runs.
"""

from __future__ import annotations

import argparse

from provider.app.cli.entry import command

ACTIONS = "manifest_actions"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands; each sets ``run``, a callable from the arguments to the exit status."""
    check = subparsers.add_parser("check", help="every problem of manifest files, with its line")
    check.add_argument("files", metavar="FILE", nargs="+", help="SDL; - for standard input")
    check.add_argument("--json", action="store_true", help="for programs: a list of {file, ok, problems}")
    add_reading_options(check)
    check.set_defaults(run=command(ACTIONS, "check"))
    for name, what in (
        ("manifest", "what a provider gets: Akash's manifest JSON (it holds the file's secrets)"),
        ("groups", "what the market gets: Akash's group specs JSON"),
        ("hash", "the manifest's version: 64 hex digits"),
    ):
        one = subparsers.add_parser(name, help=what)
        one.add_argument("file", metavar="FILE", help="SDL; - for standard input")
        add_reading_options(one)
        one.set_defaults(run=command(ACTIONS, f"show_{name}"))
    _init(subparsers)
    schema = subparsers.add_parser("schema", help="a JSON Schema of the language, for editors")
    schema.set_defaults(run=command(ACTIONS, "show_schema"))


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lenient", action="store_true", help="only warn of what Akash lets pass")
    parser.add_argument(
        "--env-file",
        metavar="FILE",
        action="append",
        default=[],
        help="fill in ${NAME} in env and credentials from this file of NAME=value lines",
    )
    parser.add_argument("--env", action="store_true", help="fill in ${NAME} from the environment too")


def _init(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    init = subparsers.add_parser("init", help="a manifest to start from; asks if no option is given")
    init.add_argument("--image", help="the container image (nginx:1.27)")
    init.add_argument("--name", help="of the service (app)")
    init.add_argument("--port", type=int, help="that the container listens on (80)")
    init.add_argument("--gpu", metavar="MODEL", help="h100, rtx4090, any ... (none)")
    init.add_argument("--count", type=int, help="GPUs of each replica (1 with --gpu)")
    init.add_argument("--gpu-memory", metavar="SIZE", help="of each GPU, 80Gi")
    init.add_argument("--cpu", help="cores, 0.5 or 500m (1, with GPUs 4)")
    init.add_argument("--memory", metavar="SIZE", help="1Gi (1Gi, with GPUs 16Gi)")
    init.add_argument("--storage", metavar="SIZE", help="5Gi (5Gi, with GPUs 50Gi)")
    init.add_argument("--data", metavar="SIZE", help="a persistent volume at /data")
    init.add_argument("--replicas", type=int, help="of the service (1)")
    init.add_argument("--price", metavar="AMOUNT", help="highest, uact a block and replica (100000)")
    init.add_argument("-o", "--output", metavar="FILE", help="write to it instead of standard output")
    init.set_defaults(run=command(ACTIONS, "init"))
