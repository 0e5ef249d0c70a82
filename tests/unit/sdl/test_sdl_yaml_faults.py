"""What is wrong with YAML itself: bounded, and said with its place."""

from __future__ import annotations

import pytest

from provider import sdl
from provider.sdl import source
from tests.sdl_texts import BASE, changed, errors_of, problems_of


def fault_of(data: str | bytes) -> sdl.Problem:
    with pytest.raises(sdl.SdlInvalid) as caught:
        sdl.read(data)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("null\n", "there is nothing in the file"),
        ("- a\n- b\n", "there is no mapping in the file"),
        ("just words\n", "there is no mapping in the file"),
        (b"\xff\xfea\x00", "the file is UTF-16"),
        (b"a" * (source.MOST_BYTES + 1), "the file has 1,048,577 bytes"),
        ("a" * (source.MOST_BYTES + 1), "the file has 1,048,577 bytes"),
        ("[" * 10_000, "nested deeper than 64 levels"),
        ("- " * 10_000, "nested deeper than 64 levels"),
        ("{a: " * 10_000, "nested deeper than 64 levels"),
        ("".join(f"{'  ' * n}a:\n" for n in range(500)), "nested deeper than 64 levels"),
        ("a: &a [*a]\n", "an alias stands inside what it names: it never ends"),
        ("a: \udc80\n", "half of a surrogate pair is no character"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_clean_and_bounded(data: str | bytes, what: str) -> None:
    assert what == fault_of(data).what


@pytest.mark.parametrize(
    ("data", "line", "column", "words"),
    [
        ("a: 1\n\tb: 2\n", 2, 1, "a tab character that violates indentation"),
        ("a: [1, 2\n", 2, 1, "expected ',' or ']'"),
        ('a: "open\n', 2, 1, "unexpected end of stream"),
        ("a: b: c\n", 1, 5, "mapping values are not allowed"),
        ("a: *nowhere\n", 1, 4, "undefined alias"),
        ("x: &a 1\ny: &a 2\n", 2, 4, "duplicate anchor"),
        ("a: é\x07\n", 1, 5, "control characters are not allowed"),
        (b"ok: 1\nb: \xe9\n", 2, 4, "byte 0xe9 is not UTF-8"),
    ],
)
def test_places(data: str | bytes, line: int, column: int, words: str) -> None:
    problem = fault_of(data)
    assert (line, column) == (problem.line, problem.column)
    assert words in problem.what


def test_a_byte_order_mark_is_dropped() -> None:
    assert sdl.read(BASE) == sdl.read(b"\xef\xbb\xbf" + BASE.encode()) == sdl.read("\ufeff" + BASE)


def test_a_second_document() -> None:
    text = BASE + "---\nversion: 1\n"
    (problem,) = problems_of(text)
    assert problem.what == "a second document begins here"
    assert BASE.count("\n") + 2 == problem.line
    assert not errors_of(text, lenient=True)
    assert sdl.read(BASE).manifest == sdl.read(text, lenient=True).manifest


def test_faults_after_the_first_document_do_not_matter_to_a_lenient_reading() -> None:
    assert sdl.read(BASE + "---\n[{]\n", lenient=True).manifest == sdl.read(BASE).manifest


def test_doubled_keys() -> None:
    text = changed(("    image: nginx:1\n", "    image: nginx:1\n    image: other:2\n"))
    (problem,) = problems_of(text)
    assert problem.what == '"image" is written twice; first in line 4'
    assert (problem.line, problem.column) == (5, 5)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!binary", "!!timestamp", "!mine"])
def test_tags(tag: str) -> None:
    (error,) = errors_of(changed(("image: nginx:1", f"image: {tag} nginx")))
    assert error.startswith("services.web.image: the tag ")


def test_tags_of_plain_kinds_are_taken() -> None:
    assert not errors_of(changed(("image: nginx:1", "image: !!str 1"), ("port: 80", "port: !!int 80")))
    assert errors_of(changed(("port: 80", "port: !!str 80")))


def test_aliases_within_bounds() -> None:
    text = changed(("        cpu:\n          units: 0.5", "        cpu: &half\n          units: 0.5"))
    assert sdl.read(BASE).manifest == sdl.read(text).manifest
    merged = changed(
        ("      - port: 80\n", "      - &one\n        port: 80\n"),
        ("          - global: true\n", "          - global: true\n      - <<: *one\n        port: 81\n"),
    )
    assert [each.port for each in sdl.read(merged).manifest.groups[0].services[0].expose] == [80, 81]


@pytest.mark.parametrize("merge", ["<<: text", "<<: [a, b]"])
def test_a_merge_needs_mappings(merge: str) -> None:
    (error,) = errors_of(changed(("    image: nginx:1\n", f"    image: nginx:1\n    {merge}\n")))
    assert error.endswith("a merge needs mappings")


def test_aliases_that_explode() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(9)
    )
    assert fault_of(bomb).what == "aliases make this grow too large"


def test_aliases_that_chain() -> None:
    chain = "k0: &k0 {a: 1}\n" + "".join(f"k{n}: &k{n} {{<<: *k{n - 1}}}\n" for n in range(1, 400))
    assert fault_of(chain).what == "aliases make this grow too large"


def test_a_small_file_that_becomes_a_large_manifest() -> None:
    entry = "A=" + "x" * 50_000
    text = changed(("    image: nginx:1\n", f"    image: nginx:1\n    env: [&e {entry}{', *e' * 40}]\n"))
    (error,) = errors_of(text)
    assert "the manifest has 2,0" in error


def test_keys_that_are_no_names() -> None:
    (error,) = errors_of(changed(("    image: nginx:1\n", "    image: nginx:1\n    ? [a]\n    : b\n")))
    assert "a key that is not a plain name" in error


def test_no_more_than_a_hundred_problems() -> None:
    strays = "".join(f"    stray{n}: 1\n" for n in range(500))
    found = problems_of(changed(("    image: nginx:1\n", f"    image: nginx:1\n{strays}")))
    assert len(found) == 100


def test_warnings_never_push_out_an_error() -> None:
    strays = "".join(f"    stray{n}: 1\n" for n in range(500))
    text = changed(("    image: nginx:1\n", f"    image: nginx:1\n{strays}"), ("amount: 100", "amount: 0"))
    assert len(errors_of(text, lenient=True)) == 1
    assert len(problems_of(text, lenient=True)) == 101


def test_control_characters_never_reach_the_terminal() -> None:
    text = changed(("image: nginx:1", 'image: nginx:1\n    "\\e[31m": 1'))
    with pytest.raises(sdl.SdlInvalid) as caught:
        sdl.read(text)
    assert "\x1b" not in sdl.show(caught.value, "x")
