"""The ledger's records as JSON and back. Fields that an older program did not write have their default."""

from __future__ import annotations

from decimal import Decimal

from cattrs.errors import BaseValidationError, StructureHandlerNotFoundError
from cattrs.preconf.json import JsonConverter, make_converter
from cattrs.strategies import configure_tagged_union

from provider.core.admission import Accepted
from provider.core.ledger import Record
from provider.domain.market import Refused


def _converter() -> JsonConverter:
    converter = make_converter(omit_if_default=True)
    converter.register_unstructure_hook(Decimal, str)
    converter.register_structure_hook(Decimal, lambda text, _: Decimal(text))
    configure_tagged_union(Accepted | Refused, converter, tag_name="verdict")
    configure_tagged_union(Record, converter, tag_name="record")
    return converter


_CONVERTER = _converter()


def record_text(record: Record) -> str:
    return _CONVERTER.dumps(record, unstructure_as=Record)


def record_value(text: str) -> Record | None:
    """None for what this program does not understand: one of another version wrote it."""
    try:
        loaded: Record = _CONVERTER.loads(text, Record)  # type: ignore[arg-type]  # a union is no class
    except (BaseValidationError, StructureHandlerNotFoundError, KeyError, TypeError, ValueError):
        return None
    return loaded
