"""Strict loading of configs/*.yaml: one path in, one frozen `Config` out, with key=value overrides.

Merge order: the file named by `base` < the file itself < command-line overrides. `model` and `dataset` are either the
name of a sibling file or a mapping laid over what the base says. Nothing is ever evaluated as code.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from data_utils.config.sections import Config, default_close_mosaic
from data_utils.errors import NEAR, InputError, nearest_name

BOOL_TAG = "tag:yaml.org,2002:bool"
AnySection = typing.TypeVar("AnySection", bound=BaseModel)
TEXT_TAG, FLOAT_TAG = "tag:yaml.org,2002:str", "tag:yaml.org,2002:float"
# YAML 1.1 reads "1e-3" as a string, because it has no dot; every one who writes it means a number.
_EXPONENT = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")
_PLAIN_NUMBER = re.compile(r"^(0|[1-9]\d{0,8})$", re.ASCII)  # the one kind that reads as it is written
RECOMMENDED = "recommended.yaml"
CONFIGS = Path(__file__).parents[2] / "configs"
NAME_KEYS = (
    "names",
    "values",
)  # what stands below are class names: dataset.names and labelmap.values, data.yaml's names
SECTION_FILES = ("model", "dataset")  # keys of train.yaml that may name a file of their own
# Regex on pydantic's messages -> what a reader of YAML understands.
PLAIN_WORDING = {
    r"^Value error, ": "",
    r"^Input should be": "allowed:",
    r"^String should match pattern": "allowed: text that matches",
    r"a valid dictionary or instance of \w+": "'key: value' lines",
    r"a valid dictionary": "'key: value' lines",
    r"a valid (tuple|list)": "a list, [a, b]",
    r"a valid string": "text",
    r"a valid boolean": "true or false",
}


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses aliases (alias bombs) and repeated keys, and reads 1e-3 as a number and `off` as text."""

    # YAML 1.1 reads on, off, yes and no as true and false; here they are words, as in YAML 1.2: `wandb: off`.
    yaml_implicit_resolvers: typing.ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != BOOL_TAG]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise InputError(f"{mark.name}:{mark.line + 1}: YAML aliases (*name) are not accepted; write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool):
                raise InputError(f"{key_node.start_mark.name}:{key_node.start_mark.line + 1}: keys must be plain words")
            if key in seen:
                raise InputError(f"{key_node.start_mark.name}:{key_node.start_mark.line + 1}: key '{key}' stands twice")
            seen.add(key)
            if key in NAME_KEYS:
                self.keep_names(value_node)
        return super().construct_mapping(node, deep)

    def keep_names(self, node: yaml.Node) -> None:
        """Refuse a class name below `node` that this or another reader of YAML takes for something else."""
        if isinstance(node, yaml.CollectionNode):
            items = node.value if isinstance(node, yaml.SequenceNode) else [value for _, value in node.value]
            for item in items:
                if isinstance(item, yaml.ScalarNode):
                    self.keep_names(item)
        elif not isinstance(node, yaml.ScalarNode) or node.style is not None:
            return
        elif _PLAIN_NUMBER.match(node.value):
            node.tag = TEXT_TAG  # classes called 0 to 9
        elif node.tag != TEXT_TAG or _old_tag(node.value) != TEXT_TAG:
            text = node.value[:40]
            raise InputError(
                f"{node.start_mark.name}:{node.start_mark.line + 1}: class names must be words, and YAML "
                f"takes {text or 'an empty one'} for something else; put it in quotes: '{text}'"
            )


def _old_tag(text: str) -> str:
    """Return what YAML 1.1, as most tools read it, takes a plain word for: yes, no, on and off are truth values."""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers.get(text[:1], [])
    return next((tag for tag, pattern in resolvers if pattern.match(text)), TEXT_TAG)


class _QuotingDumper(yaml.SafeDumper):
    """Puts in quotes what `_StrictLoader` would not read as the text it is, too."""


_StrictLoader.add_implicit_resolver(BOOL_TAG, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_StrictLoader.add_implicit_resolver(FLOAT_TAG, _EXPONENT, list("-+0123456789."))
_QuotingDumper.add_implicit_resolver(FLOAT_TAG, _EXPONENT, list("-+0123456789."))


def yaml_text(values: Mapping[str, Any], **options: Any) -> str:
    """Return settings as YAML that `read_yaml` reads back as they are; `options` are PyYAML's."""
    return yaml.dump(dict(values), Dumper=_QuotingDumper, sort_keys=False, **options)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML mapping. Raises InputError naming file and line for anything that is not one."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such config file{_nearest_file(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable UTF-8 text file ({error})") from None
    loaded = _parse_yaml(text, str(path))
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise InputError(f"{path}:1: expected 'key: value' lines, found a {type(loaded).__name__}")
    return loaded


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Load the config at `path` with `overrides` such as `lr0=1e-3` or `model.fusion_stride=4`.

    Raises InputError that names the key, its value, what is allowed and, for a typo, the nearest known key.
    """
    values, overrides = _merged(Path(path)), tuple(overrides)
    for override in overrides:
        _apply_override(values, override)
    return make_section(Config, values, str(path), overrides)


def config_from_dict(values: Mapping[str, Any], where: str) -> Config:
    """Rebuild a Config from `Config.model_dump()`, as stored in a checkpoint; `where` is named in errors."""
    return make_section(Config, values, where)


def override_config(config: Config, overrides: Iterable[str]) -> Config:
    """Return `config` with `overrides` laid over it; errors as for `load_config`."""
    values, overrides = config.model_dump(mode="json"), tuple(overrides)
    if config.augment.close_mosaic == default_close_mosaic(config.epochs):
        del values["augment"]["close_mosaic"]  # an override may change the epochs that it follows from
    for override in overrides:
        _apply_override(values, override)
    return make_section(Config, values, "overrides", overrides)


def config_hash(values: BaseModel | Mapping[str, Any]) -> str:
    """Return 12 hex digits that change when, and only when, a setting does."""
    plain = values.model_dump(mode="json") if isinstance(values, BaseModel) else values
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]


def _merged(path: Path, chain: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path.resolve() in chain:
        raise InputError(f"{path}: 'base' leads back to the file itself")
    values = read_yaml(path)
    if "names" in values and "base" not in values and "lr0" not in values:
        # A dataset file by itself (configs/dataset.yaml): everything else is as in the train.yaml beside it.
        values = {"base": "train.yaml", "dataset": values}
        if not (path.parent / "train.yaml").is_file():
            raise InputError(
                f"{path}: a data set file by itself takes the rest from a train.yaml beside it, and "
                "there is none; move it, or write `base: PATH/train.yaml` and `dataset:` around it"
            )
    for key in SECTION_FILES:
        if isinstance(values.get(key), str):
            values[key] = read_yaml(path.parent / values[key])
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise InputError(f"{path}: base must be the name of a config file, found {base!r}")
    return _laid_over(_merged(path.parent / base, (*chain, path.resolve())), values)


def _laid_over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        both_sections = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _laid_over(merged[key], value) if both_sections else value
    return merged


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"'{override}': an override is written key=value, e.g. lr0=1e-3 or model.fusion_stride=4")
    node = values
    *parents, last = key.strip().split(".")
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise InputError(f"'{override}': '{parent}' is a value, not a section, so '{key}' cannot be set")
        node = child
    names_below = last in NAME_KEYS or parents[-1:] in ([name] for name in NAME_KEYS)
    if _is_plain_text(key.strip(), text):
        value: Any = text.strip()
    else:
        value = _parse_yaml(text, f"override {key}", names_below)
    if isinstance(value, dict) and isinstance(node.get(last), dict):
        value = _laid_over(node[last], value)
    node[last] = value


def _is_plain_text(key: str, text: str) -> bool:
    """Whether `text` stands for itself: paths and patterns hold what YAML would cut off (" #") or read as something."""
    section: type[BaseModel] | None = Config
    *parents, last = key.split(".")
    for parent in parents:
        field = section.model_fields.get(parent) if section else None
        section = _section_of(field.annotation) if field else None
    field = section.model_fields.get(last) if section else None
    means_something = not text.strip() or text.strip().lower() in ("null", "~") or text.lstrip().startswith(("'", '"'))
    return field is not None and field.annotation in (str, str | None) and not means_something


def _parse_yaml(text: str, name: str, names_below: bool = False) -> Any:
    try:
        loader = _StrictLoader(text)
        loader.name = name
        node = loader.get_single_node()
        if names_below and node is not None:
            loader.keep_names(node)
        return None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{name}{line}: not valid YAML: {problem}") from None
    except RecursionError:
        raise InputError(f"{name}: not valid YAML: nested too deeply") from None
    except InputError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # What PyYAML's constructors let through for a tag that does not fit its value, e.g. "!!timestamp soon".
        raise InputError(f"{name}: not valid YAML: {error or type(error).__name__}") from None


def make_section(
    section: type[AnySection], values: Mapping[str, Any], where: str, overrides: Sequence[str] = ()
) -> AnySection:
    """Make one section of these values; raises InputError naming the override, or else `where`, and the key."""
    try:
        return section.model_validate(dict(values))
    except ValidationError as error:
        told: dict[str, list[str]] = {}  # by what is at fault
        missing: dict[str, list[str]] = {}
        for problem in error.errors():
            at = _at_fault(dict(problem), overrides) or where
            if problem["type"] == "missing":
                missing.setdefault(at, []).append(".".join(map(str, problem["loc"])))
            else:
                told.setdefault(at, []).append(_explain(dict(problem)))
        for at, keys in missing.items():
            told.setdefault(at, []).insert(0, _explain_missing(keys, at))
        raise InputError("; ".join(f"{at}: {'; '.join(problems)}" for at, problems in told.items())) from None


def _at_fault(problem: dict[str, Any], overrides: Sequence[str]) -> str | None:
    """Return the override that wrote what is wrong, of several the last; None where a file is at fault."""
    wrong = ".".join(str(part) for part in problem["loc"])
    for override in reversed(overrides):
        key = override.partition("=")[0].strip()
        unknown_section = problem["type"] == "extra_forbidden" and key.startswith(f"{wrong}.")
        if f"{wrong}.".startswith(f"{key}.") or unknown_section:
            return f"'{override}'"
    return None


def _explain(problem: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        near = _nearest_key(key)
        hint = f", did you mean '{near}'?" if near else f"; known: {', '.join(known_keys()[:12])}, ..."
        return f"unknown key '{key}'" + hint
    value = problem.get("input")
    message = problem["msg"]
    for wording, plain in PLAIN_WORDING.items():
        message = re.sub(wording, plain, message)
    # A cross-field check names its own keys; pydantic's input would then be the whole section.
    names_itself = isinstance(value, Mapping) and problem["type"] == "value_error"
    return message if names_itself else f"{key} = {value!r}: {message}"


def _explain_missing(keys: Sequence[str], where: str) -> str:
    """Name the missing keys, and the base that has them where they are a run's own."""
    shown = ", ".join(f"'{key}'" for key in keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
    told = f"keys {shown} are missing" if len(keys) > 1 else f"key {shown} is missing"
    if not where.endswith((".yaml", ".yml")) or all("." in key for key in keys):
        return told
    folder = Path(where).parent
    beside = (folder / RECOMMENDED).is_file() or not CONFIGS.is_dir()
    base = RECOMMENDED if beside else Path(os.path.relpath(CONFIGS, folder), RECOMMENDED)
    return f"{told}; begin the file with `base: {base}`, which has them"


def _nearest_key(key: str) -> str | None:
    """Return the known key a typo most likely meant: the same word in another section, or a similar one."""
    known = known_keys()
    leaf = key.rpartition(".")[2]
    same_word = [k for k in known if k.rpartition(".")[2] == leaf]
    similar = [
        k for k in difflib.get_close_matches(key, known, n=3, cutoff=NEAR) if nearest_name(leaf, [k.rpartition(".")[2]])
    ]  # a section's name alone makes no key alike
    if not similar and "." not in key and (word := nearest_name(leaf, [k.rpartition(".")[2] for k in known])):
        similar = [k for k in known if k.rpartition(".")[2] == word]  # a section's key, written without its section
    return next((k for k in same_word + similar if not key.startswith(k + ".")), None)


def known_keys(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """List every dotted key a config may hold."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        keys.append(prefix + name)
        if inner is not None:
            keys += known_keys(inner, f"{prefix}{name}.")
    return keys


def _section_of(annotation: Any) -> type[BaseModel] | None:
    choices = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return next((c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    near = nearest_name(path.stem, [p.stem for p in path.parent.glob("*.yaml")])  # the suffix is like every other
    return f"; did you mean {path.parent / near}.yaml?" if near else ""
