"""Style as a test: sizes, names and bans that a reader would otherwise have to remember.

Each rule yields ``path:line: message``. There is no list of exceptions: a rule that needs one is wrong.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ROOT / "provider" / "rpc" / "v1"

FILE_LINES_MOST = 400
FUNCTION_LINES_MOST = 50
CONFTEST_LINES_MOST = 100
BAD_MODULES = {"utils", "util", "common", "helpers", "helper", "misc", "base", "manager"}
BAD_CLASS = re.compile(r"(Manager|Base|Helper|Handler|Impl|Abstract|Utils?)$|^(Abstract|Base)[A-Z]")
PURE = ("domain", "sdl", "core")
MONEY = ("domain/money.py", "core/metering.py", "core/pricing.py", "coordinator/escrow.py")
EXCEPT_ALLOWED = {"provider/shell/perform.py", "provider/app/cli/entry.py"}
BASES_ALLOWED = re.compile(
    r"(Error|Exception|Enum|IntEnum|StrEnum|IntFlag|Protocol|Servicer|NamedTuple|TypedDict|Structure|Union)$"
    r"|^(ProviderError|Temporary|Permanent|PeerError|AssertionError|Denied|CallFailed)$"  # our exceptions
    r"|^(Generic|ServerInterceptor|CParser|MutableMapping)$"  # libraries that can only be extended so
)


@cache
def sources(*folders: str) -> tuple[Path, ...]:
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return tuple(
        sorted(path for path in found if GENERATED not in path.parents or path.name == "__init__.py")
    )


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def too_long_files() -> Iterator[str]:
    for path in sources("provider", "tests", "scripts"):
        lines = path.read_text(encoding="utf-8").count("\n")
        most = CONFTEST_LINES_MOST if path.name == "conftest.py" else FILE_LINES_MOST
        if lines > most:
            yield f"{name(path)}: {lines} lines, at most {most}: what is the second noun in it?"


def too_long_functions() -> Iterator[str]:
    for path in sources("provider"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MOST:
                    yield f"{name(path)}:{node.lineno}: {node.name} has {lines} lines"


def vague_names() -> Iterator[str]:
    for path in sources("provider", "tests"):
        if path.stem in BAD_MODULES:
            yield f"{name(path)}: name the noun; a thing without one lives where it is used"
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and BAD_CLASS.search(node.name):
                yield f"{name(path)}:{node.lineno}: class {node.name} says nothing about what it is"


def inheritance() -> Iterator[str]:
    for path in sources("provider"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                for base in node.bases:
                    word = ast.unparse(base).split("[")[0].split(".")[-1]
                    if not BASES_ALLOWED.search(word):
                        yield f"{name(path)}:{node.lineno}: {node.name} inherits {word}: hold it instead"


def missing_stories() -> Iterator[str]:
    for path in sources("provider"):
        if path.read_text(encoding="utf-8").strip() and not ast.get_docstring(tree(path)):
            yield f"{name(path)}:1: a module opens with what it owns"


def broad_excepts() -> Iterator[str]:
    for path in sources("provider", "tests"):
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.ExceptHandler) or name(path) in EXCEPT_ALLOWED:
                continue
            caught = ast.unparse(node.type) if node.type else "everything"
            swallows = not any(isinstance(each, ast.Raise) and each.exc is None for each in ast.walk(node))
            if caught in {"everything", "Exception", "BaseException"} and swallows:
                yield f"{name(path)}:{node.lineno}: catches {caught}; name what can go wrong"


def float_money() -> Iterator[str]:
    for each in MONEY:
        path = ROOT / "provider" / each
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Name) and node.id == "float":
                yield f"{name(path)}:{node.lineno}: money is integers and exact decimals"
            if isinstance(node, ast.Constant) and isinstance(node.value, float):
                yield f"{name(path)}:{node.lineno}: money is integers and exact decimals"


def sleeping_tests() -> Iterator[str]:
    for path in sources("tests/unit", "tests/contract", "tests/sim"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}:
                yield f"{name(path)}:{node.lineno}: wait for the condition, or use virtual time"


def mocks() -> Iterator[str]:
    for path in sources("provider", "tests"):
        text = path.read_text(encoding="utf-8")
        for word in ("unittest" + ".mock", "monkeypatch.set" + "attr"):
            if word in text and path != Path(__file__).resolve():
                yield f"{name(path)}: {word}: write a fake in provider/sim"


def leftovers() -> Iterator[str]:
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|NotImplemented" + r"Error")
    for path in sources("provider", "tests"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if words.search(line):
                yield f"{name(path)}:{number}: finish it or delete it"


def bare_ignores() -> Iterator[str]:
    bare = re.compile(r"# (type: ignore(?!\[)|noqa(?!:))")
    for path in sources("provider", "tests"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if bare.search(line) and path != Path(__file__).resolve():
                yield f"{name(path)}:{number}: say which rule is ignored"


def machine_paths() -> Iterator[str]:
    """Nothing in the project may hold a path of the machine that it was made on."""
    told = re.compile(r"(?<![\w.])/(work|farm|home/\w+)/")
    folders = ("provider", "tests", "docs", "scripts", "manifests", "monitoring", "proto")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.suffix in {".md", ".toml", ""}]
    files = [path for path in files if path.name != ".git"]  # a linked work tree has a file of that name
    for path in files:
        if path.suffix in {".pyc", ".so", ".png"} or path == Path(__file__).resolve():
            continue
        for number, line in enumerate(
            path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1
        ):
            if told.search(line):
                yield f"{name(path)}:{number}: a path of one machine"


RULES = (
    too_long_files,
    too_long_functions,
    vague_names,
    inheritance,
    missing_stories,
    broad_excepts,
    float_money,
    sleeping_tests,
    mocks,
    leftovers,
    bare_ignores,
    machine_paths,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_tidy(rule: Callable[[], Iterator[str]]) -> None:
    found = list(rule())
    assert not found, "\n" + "\n".join(found)
