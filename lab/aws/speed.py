"""Makes moto's answers cheaper without changing them: attribute names, tags and XML of many instances."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape, quoteattr

from moto.core.serialize import AttributePickerContext, EC2Serializer
from moto.ec2.models.core import TaggedEC2Resource

MISSING = object()
_ENDINGS: dict[int, tuple[int, set[str]]] = {}
_KEYS: dict[tuple[type, str, int], tuple[Any, tuple[str, ...]]] = {}


def _keys(picker: Any, context: AttributePickerContext) -> tuple[str, ...]:
    """The names under which a value may be found; they follow from the class and the shape, so they are kept."""
    known = _KEYS.get((type(context.obj), context.key, id(context.shape)))
    if known is None:
        names = tuple(dict.fromkeys(picker.get_possible_keys(context)))
        known = _KEYS[(type(context.obj), context.key, id(context.shape))] = (context.shape, names)
    return known[1]


def _value(obj: Any, key: str) -> Any:
    if "." in key:
        first, rest = key.split(".", 1)
        inner = _value(obj, first)
        return MISSING if inner is MISSING else _value(inner, rest)
    if not hasattr(obj, "__getitem__"):
        return getattr(obj, key, MISSING)
    try:
        return obj[key]
    except (KeyError, IndexError, TypeError, AttributeError):
        return MISSING


def _get_value(self: Any, value: Any, key: str, shape: Any) -> Any:
    """ResponseSerializer.get_value and the picker in one."""
    picker = self._value_picker
    known = _KEYS.get((type(value), key, id(shape)))
    names = known[1] if known else _keys(picker, AttributePickerContext(obj=value, key=key, shape=shape))
    result = None
    for name in names:
        found = _value(value, name)
        if found is not MISSING:
            result = found
            break
    transformers = picker.response_transformers
    if transformers and key in _endings(transformers):
        path = ".".join([*self.path, key])
        for ending, transform in transformers.items():
            if path.endswith(ending):
                return transform(result)
    return result


def _endings(transformers: dict[str, Any]) -> set[str]:
    """The last parts of the paths that are transformed; most keys have none."""
    known = _ENDINGS.get(id(transformers))
    if known is None or known[0] != len(transformers):
        known = _ENDINGS[id(transformers)] = (len(transformers), {path.split(".")[-1] for path in transformers})
    return known[1]


def _emit(name: str, value: Any, out: list[str]) -> None:
    if isinstance(value, list):
        for item in value:
            _emit(name, item, out)
    elif isinstance(value, dict):
        attributes = "".join(f" {k[1:]}={quoteattr(str(v))}" for k, v in value.items() if k.startswith("@"))
        out.append(f"<{name}{attributes}>")
        for key, inner in value.items():
            if key == "#text":
                out.append(escape(str(inner)))
            elif not key.startswith("@"):
                _emit(key, inner, out)
        out.append(f"</{name}>")
    elif value is None or value == "":
        out.append(f"<{name}/>")
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        out.append(f"<{name}>{escape(text)}</{name}>")


def _body(_self: Any, body: dict[str, Any]) -> str:
    out = ['<?xml version="1.0" encoding="utf-8"?>\n']
    for name, value in body.items():
        _emit(name, value, out)
    return "".join(out)


def _tags(self: Any) -> list[dict[str, str]]:
    """moto searches the tags of all resources for those of one."""
    if not self.id:
        return []
    kind = self.id.split("-")[0]
    if kind not in _KINDS:
        found = self.ec2_backend.describe_tags(filters={"resource-id": [self.id]})
        if found:
            _KINDS[kind] = found[0]["resource_type"]
        return found
    held = self.ec2_backend.tags.get(self.id, {})
    return [
        {"resource_id": self.id, "resource_type": _KINDS[kind], "key": key, "value": value}
        for key, value in held.items()
    ]


_KINDS: dict[str, str] = {}


def install() -> None:
    """Replace moto's methods."""
    EC2Serializer.get_value = _get_value
    EC2Serializer._serialize_body = _body
    TaggedEC2Resource.get_tags = _tags
