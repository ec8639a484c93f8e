"""docs/settings.md, made from the typed sections: `python -m data_utils.settings_page` writes it anew.

What the page says of a key is the comment above or beside its field; `[px]` at the comment's beginning is its unit.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import io
import json
import sys
import textwrap
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

PAGE = Path("docs/settings.md")
HEAD = """# Settings

Made by `python -m data_utils.settings_page` from the typed sections of the code; a test holds it to them.

Every key can stand in a YAML file (`train.py --config FILE`) or behind a command as `key=value`: `python train.py
lr0=1e-3 model.fusion_stride=4`. What comes later wins: `base`, then the file, then the command line. An unknown key is
refused with the nearest known one. `base: recommended.yaml` takes everything else from that file; `model` and `dataset`
may name files of their own. See also [your own config](quickstart.md#your-own-config-in-twelve-lines).

The default is what holds where no file says otherwise. The keys of the first table, `dataset.nc` and `dataset.names`
have none of their own: there it is what `configs/train.yaml` says, which are the paper's published values.
"""
ROW = "| key | default | allowed | unit | meaning |\n|---|---|---|---|---|\n"
REGISTRY = f"""
## An ablation registry

`configs/ablations.yaml`, and files like it for `--ablations`: `runs` maps names to the keys below; `tolerance` holds
for all runs.

{ROW}"""
KINDS = {"integer": "whole number", "string": "text", "boolean": "`true` | `false`", "array": "list",
         "object": "mapping", "null": "`null`"}  # fmt: skip
BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}


def settings_page(root: Path) -> str:
    """Return the page as Markdown; `root` holds configs/."""
    from data_utils.config.ablations import AblationRun
    from data_utils.config.loading import load_config, read_yaml
    from data_utils.config.sections import Config

    published = load_config(root / "configs" / "train.yaml").model_dump(mode="json")
    parts = [HEAD, *_section(Config, "", published), REGISTRY, *_rows(AblationRun, "runs.NAME.", {})]
    parts.append("\n## What the files in configs/ set\n\n| file | begins from | sets |\n|---|---|---|\n")
    files = {path.name: read_yaml(path) for path in sorted((root / "configs").glob("*.yaml"))}
    for name, values in files.items():
        if "runs" not in values:
            base = f"`{values.pop('base')}`" if "base" in values else ""
            parts.append(f"| `{name}` | {base} | {', '.join(_flat(values))} |\n")
    return "".join(parts)


def _section(section: type[BaseModel], prefix: str, published: Any) -> Iterator[str]:
    """Yield the table of a section and those of the sections in it."""
    title = f"`{prefix.removesuffix('.')}`" if prefix else "The 19 published keys"
    yield f"\n## {title}\n\n{inspect.cleandoc(section.__doc__ or '')}\n\n{ROW}"
    yield from _rows(section, prefix, published)
    for name, field in section.model_fields.items():
        inner, between = _inner(field.annotation)
        if inner is not None:
            yield from _section(inner, f"{prefix}{name}.{between}", {} if between else published.get(name, {}))


def _rows(section: type[BaseModel], prefix: str, published: Mapping[str, Any]) -> Iterator[str]:
    comments, schema = _comments(section), section.model_json_schema()["properties"]
    for name, field in section.model_fields.items():
        inner, between = _inner(field.annotation)
        if inner is not None and not between:
            continue  # a table of its own
        text = comments.get(name, "")
        unit, _, text = text[1:].partition("] ") if text.startswith("[") else ("", "", text)
        default = published.get(name) if field.is_required() else field.get_default(call_default_factory=True)
        if inner is None and name in published and published[name] != _plain(default):
            text += f"; train.yaml: `{_shown(published[name])}`"
        allowed = "keys below" if inner is not None else _allowed(schema[name])
        shown = "must be given" if field.is_required() and name not in published else f"`{_shown(default)}`"
        cells = (f"`{prefix}{name}`", shown, allowed, unit, text.replace("<", "&lt;"))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _comments(section: type[BaseModel]) -> dict[str, str]:
    """Return {field: the comment lines right above it and those beside it}, from the section's source."""
    source = textwrap.dedent(inspect.getsource(section))
    alone: dict[int, str] = {}  # by line
    beside: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines = beside if token.line[: token.start[1]].strip() else alone
            lines[token.start[0]] = token.string.lstrip("# ")
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first = node.lineno
            while first - 1 in alone:
                first -= 1
            own = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            lines = [alone[line] for line in range(first, node.lineno)] + [beside.get(line, "") for line in own]
            found[node.target.id] = " ".join(filter(None, lines))
    return found


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Return the section a field holds, and what stands between its key and theirs: "", "NAME." or "N."."""
    parts = (annotation, *getattr(annotation, "__args__", ()))
    inner = next((part for part in parts if hasattr(part, "model_fields")), None)
    kind = getattr(annotation, "__origin__", None)
    return inner, {dict: "NAME.", tuple: "N."}.get(kind, "")  # pyright: ignore[reportArgumentType]


def _allowed(schema: Mapping[str, Any]) -> str:
    """Return a field's JSON schema in words: "number from 0 to 1", "`a` | `b`", "list or `null`"..."""
    if "anyOf" in schema:
        return " or ".join(map(_allowed, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " | ".join(f"`{value}`" for value in schema.get("enum") or [schema["const"]])
    bounds = [f"{word} {schema[key]}" for key, word in BOUNDS.items() if key in schema]
    kind = str(schema["type"])
    return " ".join([KINDS.get(kind, kind), *bounds])


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif len(shown := _shown(value)) > 60:
            yield f"`{prefix}{name}` (a list)" if isinstance(value, list) else f"`{prefix}{name}`"
        else:
            yield f"`{prefix}{name}={shown}`".replace("|", "\\|")


def main() -> int:
    """Write the page; returns the exit code."""
    argparse.ArgumentParser(
        prog="python -m data_utils.settings_page",
        description="Write docs/settings.md: every key of every config with default, unit and meaning.",
        epilog="example: python -m data_utils.settings_page",
    ).parse_args()
    from data_utils.files import write_text

    write_text(PAGE, settings_page(Path()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
