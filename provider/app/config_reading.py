"""Reading the operator's configuration: one YAML file, environment over it, all problems said at once.

``PROVIDER_<SECTION>__<KEY>`` overrides a key (``PROVIDER_TELEMETRY__LISTEN=0.0.0.0:9464``), however deep.
A key that does not exist is an error with the nearest one that does. The settings are in ``config``.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from provider.app.config import ENV_PREFIX, ProviderConfig
from provider.domain.errors import ConfigError
from provider.domain.secret import Secret


def load(path: Path, environment: Mapping[str, str]) -> ProviderConfig:
    """Read ``path`` and the environment over it. ``ConfigError`` names every problem of both."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", remedy="provider init, or --config FILE"
        ) from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{path} is not YAML: {error}", remedy="mend the file, or write a new one: provider init"
        ) from error
    return parse(document if document is not None else {}, environment, str(path))


def parse(document: object, environment: Mapping[str, str], source: str) -> ProviderConfig:
    """``document`` as a configuration; ``source`` names it in errors."""
    merged, problems = _with_environment(document, environment)
    reader = _Reader(problems)
    config = reader.read(merged, ProviderConfig, "")
    if reader.problems:
        listed = "".join(f"\n  {problem}" for problem in reader.problems)
        raise ConfigError(
            f"{source} has {len(reader.problems)} problem{'s' * (len(reader.problems) > 1)}:{listed}",
            remedy="docs/configuration.md lists every setting",
        )
    assert isinstance(config, ProviderConfig), "a document without problems is a configuration"
    return config


def _with_environment(document: object, environment: Mapping[str, str]) -> tuple[object, list[str]]:
    """``document`` with ``PROVIDER_A__B`` written over ``a.b``. Values are YAML."""
    if not isinstance(document, dict):
        return document, []
    merged: dict[object, Any] = copy.deepcopy(document)
    problems = []
    for name, text in sorted(environment.items()):
        if not name.startswith(ENV_PREFIX) or name in OTHER_VARIABLES:
            continue
        *sections, key = name.removeprefix(ENV_PREFIX).lower().split("__")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            problems.append(f"{name}: {text!r} is not a YAML value")
            continue
        place: Any = merged
        for section in sections:
            place = place.setdefault(section, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[key] = value
    return merged, problems


OTHER_VARIABLES = frozenset({"PROVIDER_CONFIG"})
"""Ours, but not settings: where the file is."""


class _Reader:
    """Turns plain YAML values into dataclasses, collecting problems instead of stopping at the first."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems

    def read(self, value: object, kind: Any, place: str) -> Any:
        """``value`` as ``kind``; None after a problem was noted."""
        origin = typing.get_origin(kind)
        if dataclasses.is_dataclass(kind) and kind is not Secret:
            return self._dataclass(value, kind, place)
        if origin in (types.UnionType, typing.Union):
            return None if value is None else self.read(value, typing.get_args(kind)[0], place)
        if origin is tuple:
            return self._items(value, typing.get_args(kind)[0], place)
        if origin is not None and issubclass(origin, Mapping):
            return self._mapping(value, typing.get_args(kind)[1], place)
        return self._scalar(value, kind, place)

    def _dataclass(self, value: object, kind: Any, place: str) -> Any:
        if not isinstance(value, dict):
            self.problems.append(f"{place or 'the file'}: expected settings, found {_shown(value)}")
            return None
        hints = typing.get_type_hints(kind)
        names = [each.name for each in dataclasses.fields(kind)]
        for key in value:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, n=1)
                hint = f": did you mean {near[0]}?" if near else f": there are {', '.join(names)}"
                self.problems.append(f"{_join(place, str(key))}: no such setting{hint}")
        read = {
            name: self.read(value[name], hints[name], _join(place, name)) for name in names if name in value
        }
        for each in _required(kind):
            if each not in value:
                self.problems.append(f"{_join(place, each)}: is missing")
                return None
        return kind(**read)

    def _items(self, value: object, kind: Any, place: str) -> Any:
        if not isinstance(value, list):
            self.problems.append(f"{place}: expected a list, found {_shown(value)}")
            return ()
        return tuple(self.read(each, kind, f"{place}[{index}]") for index, each in enumerate(value))

    def _mapping(self, value: object, kind: Any, place: str) -> Any:
        if not isinstance(value, dict):
            self.problems.append(f"{place}: expected settings, found {_shown(value)}")
            return {}
        return {str(key): self.read(each, kind, _join(place, str(key))) for key, each in value.items()}

    def _scalar(self, value: object, kind: Any, place: str) -> Any:
        if kind is bool:
            return self._switch(value, place)
        expected, convert = _SCALARS[kind]
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            self.problems.append(f"{place}: expected {expected}, found {_shown(value)}")
            return None
        try:
            return convert(value)
        except (ValueError, InvalidOperation):
            self.problems.append(f"{place}: expected {expected}, found {_shown(value)}")
            return None

    def _switch(self, value: object, place: str) -> bool:
        if not isinstance(value, bool):
            self.problems.append(f"{place}: expected on or off, found {_shown(value)}")
        return bool(value)


def _whole(value: str | float) -> int:
    number = int(value)
    if number < 0 or number != float(value):
        raise ValueError("negative or not whole")
    return number


def _number(value: str | float) -> float:
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError("negative or endless")
    return number


def _price(value: str | float) -> Decimal:
    number = Decimal(str(value))
    if not number.is_finite() or number < 0:
        raise ValueError("negative or endless")
    return number


_SCALARS: Mapping[Any, tuple[str, Any]] = {
    str: ("text", str),
    int: ("a whole number, not negative", _whole),
    float: ("a number, not negative", _number),
    Decimal: ("a price, not negative", _price),
    Path: ("a path", lambda value: Path(str(value))),
    Secret: ("text", lambda value: Secret(str(value))),
}


def _required(kind: Any) -> Iterator[str]:
    for each in dataclasses.fields(kind):
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            yield each.name


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
