"""The JSON schema of what a scan writes, made from the data classes themselves."""

import types
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .data import SCHEMA, Scan

DRAFT = "https://json-schema.org/draft/2020-12/schema"
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}


def schema() -> dict[str, Any]:
    """Return the schema of `Scan.to_json`, of the version that the output names."""
    whole = _of(Scan)
    whole["properties"] = {"schema": {"const": SCHEMA}} | whole["properties"]
    whole["properties"]["deviation"] = {"type": ["number", "null"]}  # JSON has no NaN
    whole["required"] = ["schema", *whole["required"]]
    return {"$schema": DRAFT, "$id": SCHEMA, "title": SCHEMA} | whole


def _of(kind: Any) -> dict[str, Any]:
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if kind is Any:
        return {}
    if kind is types.NoneType:
        return {"type": "null"}
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind)]
        return {
            "type": "object",
            "description": kind.__doc__,
            "properties": {name: _of(hints[name]) for name in names},
            "required": names,
            "additionalProperties": False,
        }
    inside = get_args(kind)
    match get_origin(kind):
        case origin if origin is list:
            return {"type": "array", "items": _of(inside[0])}
        case origin if origin is dict:
            return {"type": "object", "additionalProperties": _of(inside[1])}
        case origin if origin is tuple:
            return {
                "type": "array",
                "prefixItems": [_of(one) for one in inside],
                "minItems": len(inside),
                "items": False,
            }
        case origin if origin is Literal:
            return {"enum": list(inside)}
        case origin if origin in (types.UnionType, Union):
            return {"anyOf": [_of(one) for one in inside]}
    raise TypeError(f"no schema is known for {kind}")
