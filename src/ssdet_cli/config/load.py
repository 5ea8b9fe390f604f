"""YAML + `section.key=value` -> a frozen configuration, with every mistake told at once."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ssdet_cli.catalog import nearest
from ssdet_cli.config.locate import locate
from ssdet_cli.config.sections import Section
from ssdet_cli.errors import ConfigError, WordsError

Config = TypeVar("Config", bound=Section)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 numbers: `1e-4` is a float and `1:30` is text (YAML 1.1 reads text and the number 90)."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:int")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)


def parse_value(text: str) -> Any:
    """Read the right side of `key=value` as YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError:
        return text


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        ConfigError: Not readable, not YAML, or not a mapping.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.load(file, _Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read configuration {path}: {error}.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = " ".join(str(getattr(error, "problem", None) or error).split())
        raise ConfigError(f"{path}{where}: this is not YAML ({problem}).") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold `section:` entries, not a {type(content).__name__}.")
    return content


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `over` put over it, section by section."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def nest(key: str, value: Any) -> dict[str, Any]:
    """`a.b=1` as a mapping: `{"a": {"b": 1}}`."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """Turn `section.key=value` words into a flat mapping key -> value.

    Raises:
        WordsError: A word without `=`, or the same key twice.
    """
    found: dict[str, Any] = {}
    for word in overrides:
        key, equals, text = word.partition("=")
        if not equals or not key or key.startswith("-"):
            raise WordsError(f"'{word}' is not an override; overrides look like optim.lr=0.02.")
        if key in found:
            raise WordsError(f"{key} is given twice; give it once.")
        found[key] = parse_value(text)
    return found


def model_of(config: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The section model that a dotted path leads to, or None where there is no such path."""
    for part in key.split(".") if key else []:
        field = config.model_fields.get(part)
        if field is None:
            return None
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_model(kind)]
        if not inner:
            return None
        config = inner[0]
    return config


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def all_keys(config: type[BaseModel], prefix: str = "") -> list[str]:
    """Every dotted key of a configuration, for near matches and completion."""
    keys = []
    for name in config.model_fields:
        inner = model_of(config, name)
        keys += all_keys(inner, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
    return keys


def explain(error: ValidationError, config: type[BaseModel], source: str, command_line: Iterable[str] = ()) -> str:
    """All mistakes of a configuration in one line.

    Args:
        error: What pydantic found.
        config: Model of the command.
        source: Where keys come from that are not on the command line.
        command_line: Dotted keys that are.
    """
    told: dict[str, list[str]] = {}
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"] if not isinstance(part, int))
        if item["type"] == "extra_forbidden":
            text = f"unknown key '{key}'.{nearest(key, all_keys(config))}"
        elif item["type"] == "value_error":
            text = str(item["ctx"]["error"])
        else:
            shown = f"{key}={item['input']!r}: " if key else ""
            text = f"{shown}{item['msg'][0].lower()}{item['msg'][1:]}."
        # A check of several keys has the place of their section, and names them.
        several = model_of(config, key) is not None
        typed = any(given in text if several else f"{given}.".startswith(f"{key}.") for given in command_line)
        told.setdefault("command line" if typed else source, []).append(text)
    return " ".join(f"{place}: {' '.join(dict.fromkeys(texts))}" for place, texts in told.items())


def load_config(
    config: type[Config],
    name: str | None = None,
    overrides: Iterable[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> Config:
    """Build a configuration: defaults, then a file, then the command line.

    Args:
        config: Model of the command.
        name: File or shipped name; None is defaults only.
        overrides: `section.key=value` words.
        flags: Dotted key -> value of the named flags that were given; None values are skipped.

    Raises:
        ConfigError: Any mistake; all of them are in the one message.
        WordsError: The same, where there is no file.
    """
    command_line = parse_overrides(overrides)
    for key, value in (flags or {}).items():
        if value is None:
            continue
        if key in command_line:
            raise WordsError(f"{key} is given as a flag and as {key}=...; give one of them.")
        command_line[key] = value
    values: dict[str, Any] = {}
    source = "command line"
    if name is not None:
        path = locate(name, config.command)
        values, source = read_yaml(path), str(path)
    for key, value in command_line.items():
        values = merge(values, nest(key, value))
    try:
        return validate(config, values, source, command_line)
    except ConfigError as error:
        if name is None:
            raise WordsError(str(error)) from error
        raise


def validate(config: type[Config], values: Mapping[str, Any], source: str, command_line: Iterable[str] = ()) -> Config:
    """Check plain values against a model; see `explain` for the arguments.

    Raises:
        ConfigError: All mistakes in one line that says where each comes from.
    """
    try:
        return config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, config, source, command_line)) from error


def to_plain(config: BaseModel) -> dict[str, Any]:
    """The configuration as plain containers: strings for paths, lists for tuples (what a checkpoint can hold)."""
    return config.model_dump(mode="json")


def to_yaml(config: BaseModel) -> str:
    """The complete configuration as YAML with a sentence behind every key; itself a valid `--config`."""
    return "\n".join(_yaml_lines(config, "")) + "\n"


def _yaml_lines(config: BaseModel, indent: str) -> list[str]:
    lines = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            lines += [f"{indent}{name}:", *_yaml_lines(value, indent + "  ")]
            continue
        plain = config.model_dump(mode="json", include={name})[name]
        text = (
            yaml.safe_dump(plain, default_flow_style=True, width=10_000, sort_keys=False).removesuffix("...\n").strip()
        )
        note = f"  # {field.description}" if field.description else ""
        lines.append(f"{indent}{name}: {text}{note}")
    return lines
