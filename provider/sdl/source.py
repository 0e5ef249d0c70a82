"""From the text of a file to its YAML nodes, with every bound in place before it is needed.

Owns sizes, encoding, depth, aliases and the wording of YAML's own faults. Does not know what an SDL
is. Invariant: whatever the input, the outcome is a tree or ``SdlInvalid``, in time linear in its length.

The parser is libyaml, the ancestor of the Go parser that Akash uses, so both read the same files. Tags
are not resolved: what a scalar means is decided by the field it stands in (``scalars``), so that
``22:22``, ``on`` or ``017`` never become something that nobody wrote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from yaml._yaml import CParser
from yaml.error import MarkedYAMLError, YAMLError
from yaml.nodes import MappingNode, Node, SequenceNode
from yaml.reader import ReaderError

from provider.sdl.problems import Problem, SdlInvalid

MOST_BYTES = 1 << 20
LARGE = MOST_BYTES // 16
"""Characters from which on the manifest's own size is looked at: JSON's escapes grow a text at most sixfold,
and a list of empty entries no more."""
DEEPEST = 64
"""Levels of nesting. An SDL has 11."""
_TOO_DEEP = f"nested deeper than {DEEPEST} levels"
MOST_NODES = 100_000
"""Nodes after aliases are written out, as reading visits them."""
PLAIN_TAG = ""
"""The tag of a node that has none of its own."""

_ALIAS = re.compile(r"\*\w")
"""What could be an alias; much that is none looks like one, and costs no more than a look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One YAML document. ``extra`` is where a second one begins (line and column from 1), if it does."""

    root: Node
    is_large: bool = False
    """Long, or made longer by aliases: what comes out may be more than can be sent."""
    extra: tuple[int, int] | None = None


_HELP = (
    ("cannot start any token", "indent with spaces, and quote text that begins with @, ` or %"),
    ("tab", "indent with spaces"),
    ("mapping values are not allowed", "quote text that holds a colon and a space, and check the indent"),
    ("expected ':'", "a name needs a colon after it, and the indent of its neighbours"),
    ("did not find expected key", "check the indent of this line and of the one above"),
    ("expected '-' indicator", "every entry of a list begins with '-' in the same column"),
    ("undefined alias", "quote text that begins with *"),
    ("duplicate anchor", "give every anchor its own name"),
    ("unexpected end of stream", "a quote or a bracket is not closed"),
)


class _TooDeep(YAMLError):
    """Raised from inside the parser, whose own limit is far higher where it has one (libyaml 0.2.6: 1000)."""

    def __init__(self, line: int, column: int) -> None:
        super().__init__()
        self.line = line
        self.column = column


class _Composer(CParser):
    """libyaml's composer with a depth limit and without tag resolution.

    The parser calls these methods by name, and a C class takes them only from a subclass.
    """

    depth = 0

    def descend_resolver(self, parent: Node | None, index: object) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            line, column = place_of(parent) if parent is not None else (1, 1)
            raise _TooDeep(line, column)

    def ascend_resolver(self) -> None:
        self.depth -= 1

    def resolve(self, kind: type[Node], value: str | None, implicit: object) -> str:
        return PLAIN_TAG


def decode(data: bytes) -> str:
    """UTF-8 text (a byte order mark is dropped), or ``SdlInvalid``."""
    check_size(len(data))
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _fault(1, 1, "the file is UTF-16", "UTF-8 text", "save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        line, column = _position(before)
        byte = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise _fault(line, column, byte, "UTF-8 text", "save the file as UTF-8") from error


def check_size(length: int) -> None:
    """``SdlInvalid`` for more than ``MOST_BYTES`` bytes."""
    if length > MOST_BYTES:
        raise _fault(1, 1, f"the file has {length:,} bytes", f"at most {MOST_BYTES:,}", "")


def parse(text: str) -> Source:
    """The first document of ``text``; ``SdlInvalid`` where there is none or YAML itself is broken."""
    try:
        check_size(len(text.encode()))
    except UnicodeEncodeError as error:
        line, column = _position(text[: error.start])
        raise _fault(line, column, "half of a surrogate pair is no character", "UTF-8 text", "") from error
    parser = _Composer(text)
    try:
        if not parser.check_node():
            raise _fault(1, 1, "the file is empty", "an SDL document", "tenant init writes one to start from")
        root = parser.get_node()
        assert root is not None, "a node was announced"
        extra = _extra_document(parser)
    except _TooDeep as error:
        raise _fault(error.line, error.column, _TOO_DEEP, "", "") from None
    except ReaderError as error:
        raise _reader_fault(error, text) from error
    except MarkedYAMLError as error:
        raise _yaml_fault(error) from error
    finally:
        parser.dispose()
    has_aliases = "*" in text and _ALIAS.search(text) is not None
    if has_aliases:
        _bound_aliases(root)
    return Source(root=root, extra=extra, is_large=has_aliases or len(text) > LARGE)


def place_of(node: Node) -> tuple[int, int]:
    """Line and column of a node, from 1."""
    return node.start_mark.line + 1, node.start_mark.column + 1


def _extra_document(parser: _Composer) -> tuple[int, int] | None:
    """Where a second document begins. Its own faults do not matter: nobody reads it."""
    try:
        if not parser.check_node():
            return None
        event = parser.peek_event()
        mark = event.start_mark if event is not None else None
    except MarkedYAMLError as error:
        mark = error.problem_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _bound_aliases(root: Node) -> None:
    """``SdlInvalid`` where aliases form a loop, or grow beyond the bounds when written out."""
    sizes: dict[int, int] = {}
    heights: dict[int, int] = {}
    pending: list[tuple[Node, bool]] = [(root, False)]
    open_nodes: set[int] = set()
    while pending:
        node, is_done = pending.pop()
        if is_done:
            open_nodes.discard(id(node))
            children = _children(node)
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
            heights[id(node)] = 1 + max((heights[id(child)] for child in children), default=0)
            if sizes[id(node)] > MOST_NODES or heights[id(node)] > DEEPEST:
                allowed = f"at most {MOST_NODES:,} nodes in {DEEPEST} levels"
                raise _fault(*place_of(node), "aliases make this grow too large", allowed, "")
            continue
        if id(node) in open_nodes:
            raise _fault(*place_of(node), "an alias stands inside what it names: it never ends", "", "")
        if id(node) in sizes:
            continue
        open_nodes.add(id(node))
        pending.append((node, True))
        pending.extend((child, False) for child in _children(node) if id(child) not in sizes)


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [part for pair in node.value for part in pair]
    if isinstance(node, SequenceNode):
        return list(node.value)
    return []


def _fault(line: int, column: int, what: str, allowed: str, hint: str) -> SdlInvalid:
    return SdlInvalid([Problem(line=line, column=column, what=what, allowed=allowed, hint=hint)])


def _position(before: str) -> tuple[int, int]:
    """Line and column, from 1, of what follows ``before``."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _reader_fault(error: ReaderError, text: str) -> SdlInvalid:
    before = text.encode()[: error.position].decode("utf-8", "replace")
    line, column = _position(before)
    return _fault(line, column, f"character U+{error.character:04X}: {error.reason}", "printable text", "")


def _yaml_fault(error: MarkedYAMLError) -> SdlInvalid:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    what = error.problem or error.context or "not YAML"
    if "maximum nesting depth" in what:
        return _fault(line, column, _TOO_DEEP, "", "")
    if "duplicate anchor" in (error.context or ""):
        what = "duplicate anchor"  # PyYAML says so in the context only
    hint = next((help_ for words, help_ in _HELP if words in what), "")
    return _fault(line, column, f"YAML: {what}", "", hint)
