"""A JSON Schema of the language for editors, made from ``model``.

Owns the translation. Invariant: a file that ``read`` takes without a warning satisfies the schema; rules
between fields are the parser's alone, so the reverse does not hold.
"""

from __future__ import annotations

from typing import Any

from provider.sdl.model import Field, Names, Scalar, Section, Shape
from provider.sdl.model_profiles import DOCUMENT

Schema = dict[str, Any]


def json_schema() -> Schema:
    """Draft 7, the one that VS Code's YAML support reads."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Stack definition language, versions 2.0 and 2.1",
        **_section(DOCUMENT),
    }


def _of(shape: Shape) -> Schema:
    if isinstance(shape, Scalar):
        return dict(shape.schema)
    if isinstance(shape, Section):
        return _section(shape)
    if isinstance(shape, Names):
        names: Schema = {"propertyNames": {"pattern": shape.pattern}} if shape.pattern else {}
        return {"type": "object", "additionalProperties": _or_null(_of(shape.value)), **names}
    # a null entry is left out with a warning, except where a section would lack what it requires
    item = _or_null(_of(shape.item)) if isinstance(shape.item, Scalar) else _of(shape.item)
    listing: Schema = {"type": "array", "items": item}
    return {"anyOf": [item, listing]} if shape.is_or_one else listing


def _section(section: Section) -> Schema:
    schema: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {each.name: _field(each) for each in section.fields},
    }
    required = [each.name for each in section.fields if each.is_required]
    return {**schema, "required": required} if required else schema


def _field(each: Field) -> Schema:
    schema = _of(each.shape)
    return {"description": each.about, **(schema if each.is_required else _or_null(schema))}


def _or_null(schema: Schema) -> Schema:
    """The same, or nothing written: every field that may be left out may be empty too."""
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if "type" in schema:
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return {**schema, "type": [*types, "null"]}
    return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
