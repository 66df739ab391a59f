"""Tables of settings: msgspec Structs filled from text and tables, and described for people."""

import ast
import difflib
import inspect
import json
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
from pydantic import BeforeValidator, SecretStr
from pydantic_core import PydanticUndefined


def from_table(kind: type[msgspec.Struct]) -> BeforeValidator:
    """Pydantic validates a msgspec Struct by converting what file, environment or option gave, over the defaults."""

    def convert(given: Any) -> Any:
        if isinstance(given, kind):
            return given
        defaults = msgspec.to_builtins(kind())
        plain = _decoded(given)
        _refuse_unknown(plain, defaults, "")
        try:
            return msgspec.convert(merged(defaults, plain), kind, strict=False)
        except msgspec.ValidationError as error:
            what, _, path = str(error).rstrip("`").partition(" - at `$.")
            raise ValueError(f"{path} = {_at(plain, path)!r}: {what[:1].lower()}{what[1:]}; {_allowed(kind, path)}") from None

    return BeforeValidator(convert)


def _at(tree: Any, path: str) -> Any:
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, Mapping) else None
    return tree


def _allowed(kind: type[msgspec.Struct], path: str) -> str:
    return next(
        f"allowed: {allowed}" for name, _, allowed, _ in struct_rows("", kind) if name == f".{path.split('.', maxsplit=1)[0]}"
    )


def _decoded(given: Any) -> Any:
    """Environment and options can only give text; a list or an object in it is JSON."""
    if isinstance(given, Mapping):
        return {name: _decoded(value) for name, value in given.items()}
    if isinstance(given, str) and given[:1] in "[{" and given:
        try:
            return json.loads(given)
        except json.JSONDecodeError as error:
            raise ValueError(f"{given!r} is not JSON: {error}") from None
    return given


def _refuse_unknown(given: Any, defaults: Mapping[str, Any], path: str) -> None:
    """A table whose default is empty takes any name; all others only what they have."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{path}{'' if path == '' else ' = '}{given!r} is not a table of {', '.join(defaults)}")
    for name, value in given.items():
        if name not in defaults:
            raise ValueError(f"{path}{name}: no such setting{suggestion(name, defaults)}")
        if isinstance(defaults[name], Mapping) and defaults[name]:
            _refuse_unknown(value, defaults[name], f"{path}{name}.")


def suggestion(name: str, names: Iterable[str]) -> str:
    """What may have been meant, as the end of a sentence."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(names)}"


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """``above`` over ``below``, table by table."""
    tree = dict(below)
    for name, value in above.items():
        under = tree.get(name)
        tree[name] = merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return tree


def bounds(item: Any) -> list[str]:
    """What a constraint of pydantic or msgspec allows, in words."""
    signs = {"ge": "at least", "gt": "over", "le": "at most", "lt": "under", "pattern": "pattern"}
    return [f"{word} {value}" for sign, word in signs.items() if (value := getattr(item, sign, None)) is not None]


def struct_rows(prefix: str, kind: type[msgspec.Struct]) -> list[tuple[str, str, str, str]]:
    """(name, default, allowed, meaning) of each field."""
    meanings = _attribute_docstrings(kind)
    rows = []
    for field in msgspec.structs.fields(kind):
        default = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
        metas = [meta for meta in get_args(field.type)[1:] if isinstance(meta, msgspec.Meta)]
        allowed = ", ".join([type_name(field.type), *(bound for meta in metas for bound in bounds(meta))])
        rows.append((f"{prefix}.{field.name}", shown(default), allowed, meanings.get(field.name, "")))
    return rows


def _attribute_docstrings(kind: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for line, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(following, ast.Expr):
            found[line.target.id] = " ".join(str(ast.literal_eval(following.value)).split())
    return found


def type_name(annotation: Any) -> str:
    plain = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "true or false",
        Path: "path",
        SecretStr: "text",
        type(None): "",
    }
    if annotation in plain:
        return plain[annotation]
    parts = get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return type_name(parts[0])
    if getattr(annotation, "__origin__", None) is Literal:
        return " or ".join(str(part) for part in parts)
    if getattr(annotation, "__origin__", None) is dict:
        return "table"
    if getattr(annotation, "__origin__", None) in (list, tuple):
        return "list"
    return " or ".join(filter(None, (type_name(part) for part in parts))) or "table"


def shown(default: Any) -> str:
    if default in (None, "", PydanticUndefined, msgspec.NODEFAULT):
        return ""
    if isinstance(default, str | int | float):
        return str(default).lower() if isinstance(default, bool) else str(default)
    return msgspec.json.encode(default).decode()
