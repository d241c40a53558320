"""The values that the sandboxed program sends: serialized by type, without a candidate's methods.

Part of the harness: it arrives there as text, imports only the standard library, and sees values
that a candidate made. A value is read by its exact plain type; standard classes that equal a plain
type (`UserList`, `bytearray`, …) are read as that type, fractions and decimals as such.
"""

from __future__ import annotations

import marshal
from _blake2 import blake2b
from _json import encode_basestring_ascii as quote
from typing import Any

DEPTH = 100
SMALL_INT_BITS = 50
LONG = 1 << 16
TAGS = {list: "l", tuple: "t", set: "s", frozenset: "z"}
SCALARS: tuple[type, ...] = (bool, int, float, complex, str, bytes, type(None))
PLAIN: tuple[type, ...] = (*SCALARS, *TAGS, dict)
NORMAL = {int, str, bytes, type(None)}
CONTAINERS = {*TAGS, dict}


STANDARD = {
    "fractions.Fraction": "fraction", "decimal.Decimal": "decimal",
    "collections.UserList": "list", "collections.UserDict": "dict",
    "collections.UserString": "str", "builtins.bytearray": "bytes", "builtins.dict_keys": "set",
    "builtins.dict_items": "set", "builtins.mappingproxy": "mapping",
}  # fmt: skip
PLAIN_FORMS: dict[str, Any] = {
    "list": lambda value: list(value.data), "dict": lambda value: dict(value.data),
    "str": lambda value: str(value.data), "bytes": bytes, "set": set, "mapping": dict,
}  # fmt: skip


class TooLarge(Exception):
    """The results exceed the total size that the parent reads."""


class NoForm(Exception):
    """The value contains NaN or an object without a plain form, so it equals nothing."""


def base_of(value: Any) -> Any:
    """Returns the plain type that the value's type is or inherits from, else None."""
    return next((base for base in type(value).__mro__ if base in PLAIN), None)


def standard_of(value: Any) -> tuple[str, Any]:
    """Returns the key of `PLAIN_FORMS`, `fraction` or `decimal`, and the class; empty if none."""
    for base in type(value).__mro__:
        key = STANDARD.get(f"{base.__module__}.{base.__qualname__}")
        if key:
            return key, base
    return "", None


def is_numpy_scalar(value: Any) -> bool:
    """Returns whether the value is a numpy scalar, which converts to a plain number."""
    return type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()


class Speller:
    """Serializes values as JSON, up to `room` characters in total."""

    def __init__(self, room: int) -> None:
        self.room = room

    def take(self, count: int) -> None:
        """Reserves room before the text is built, so that a huge value is refused cheaply."""
        self.room -= count + 1
        if self.room < 0:
            raise TooLarge

    def spell(self, value: Any, depth: int = 0) -> str:
        """Returns the value as JSON: containers as `[tag, ...]`, opaque objects as their type name.

        Subclasses are read as their base type, by its own methods; numpy scalars as Python scalars.
        """
        base = base_of(value)
        if depth > DEPTH:
            return self.opaque("too deep")
        if base is None:
            return self.standard(value, depth)
        if base in SCALARS:
            return self.scalar(base, value)
        if base is dict:
            items = [part for pair in dict.items(value) for part in pair]
            return self.container("d", items, depth)
        return self.container(TAGS[base], base.__iter__(value), depth)

    def standard(self, value: Any, depth: int) -> str:
        """Writes a value of a standard class; any other object is opaque."""
        if is_numpy_scalar(value):
            return self.spell(value.item(), depth + 1)
        name, base = standard_of(value)
        if name == "fraction":
            parts = [int.__int__(part) for part in (value.numerator, value.denominator)]
            self.take(sum(part.bit_length() // 4 for part in parts))
            return '["f","{:x}","{:x}"]'.format(*parts)
        if name == "decimal":
            text = base.__str__(value)
            self.take(len(text))
            return f'["D",{quote(text)}]'
        if name:
            return self.spell(PLAIN_FORMS[name](value), depth + 1)
        return self.opaque(type(value).__name__)

    def container(self, tag: str, items: Any, depth: int) -> str:
        """Returns the tag followed by the serialized items."""
        self.take(4)
        return f'["{tag}"' + "".join([f",{self.spell(item, depth + 1)}" for item in items]) + "]"

    def scalar(self, base: type, value: Any) -> str:
        """Writes None, booleans, small integers, floats and strings as JSON, the rest tagged."""
        if base is int:
            return self.integer(int.__int__(value))
        if base is str:
            self.take(str.__len__(value))
            return quote(str.__str__(value))
        if base is bytes:
            self.take(2 * bytes.__len__(value))
            return f'["b","{bytes.hex(value)}"]'
        self.take(24)
        if base is float:
            return self.real(float.__float__(value))
        if base is complex:
            parts = complex.__add__(value, 0j)
            return f'["c",{self.real(parts.real)},{self.real(parts.imag)}]'
        return {None: "null", True: "true", False: "false"}[value]

    def integer(self, value: int) -> str:
        """Writes hexadecimal above 50 bits: decimal takes quadratic time, and Python limits it."""
        bits = value.bit_length()
        self.take(bits // 4)
        return str(value) if bits <= SMALL_INT_BITS else f'["i","{value:x}"]'

    def real(self, value: float) -> str:
        """Returns the shortest decimal that reads back as the same float, in extended JSON."""
        names = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}
        return names.get(repr(value), repr(value))

    def opaque(self, name: str) -> str:
        """Writes the type name of an object without a plain form."""
        self.take(len(name))
        return f'["o",{quote(str(name)[:60])}]'


def digest(value: Any, depth: int = 0) -> bytes:
    """Returns a hash that equal values share: 1 == 1.0 == True, and a set has no order."""
    if depth > DEPTH:
        raise NoForm
    value = normal(value)
    kind = type(value)
    if kind in (list, tuple):
        flat = set(map(type, value)) <= NORMAL
        items = value if flat else kind(map(normal, value))
        if flat or CONTAINERS.isdisjoint(map(type, items)):
            return hash_of(kind, (marshal.dumps(items, 2),))
        return hash_of(kind, (digest(item, depth + 1) for item in items))
    if kind is set:
        return hash_of(kind, sorted(digest(item, depth + 1) for item in value))
    if kind is dict:
        pairs = dict.items(value)
        return hash_of(kind, sorted(digest(k, depth + 1) + digest(v, depth + 1) for k, v in pairs))
    return hash_of(kind, (marshal.dumps(value, 2),))


def hash_of(kind: type, parts: Any) -> bytes:
    """Returns the hash of a value's type and parts."""
    found = blake2b(kind.__name__.encode(), digest_size=20)
    for part in parts:
        found.update(part)
    return found.digest()


def normal(value: Any) -> Any:
    """Maps equal scalars to one form, and containers to the plain type they inherit from."""
    kind = type(value)
    if kind in NORMAL:
        return value
    if kind is float:
        return normal_float(value)
    base = base_of(value)
    if base is None:
        return normal_standard(value)
    if base in (bool, int):
        return int.__int__(value)
    if base is str:
        return str.__str__(value)
    if base is float:
        return normal_float(float.__float__(value))
    if base is complex:
        number = complex.__add__(value, 0j)
        return number if number.imag else normal_float(number.real)
    if base is dict:
        return dict(dict.items(value))
    plain = set if base is frozenset else base
    return value if kind is plain else plain(base.__iter__(value))


def normal_standard(value: Any) -> Any:
    """Maps a value of a standard class to the plain value that it equals."""
    if is_numpy_scalar(value):
        return normal(value.item())
    name, _ = standard_of(value)
    if not name:
        raise NoForm
    if name in PLAIN_FORMS:
        return normal(PLAIN_FORMS[name](value))
    exact: Any = int(value) if value == int(value) else float(value)
    if value != exact:
        raise NoForm
    return exact


def normal_float(value: float) -> Any:
    """Returns an integer if the float is integral."""
    if value.is_integer():
        return int(value)
    if value != value:
        raise NoForm
    return value


def serialize(result: Any, room: int, form: str) -> str:
    """Serializes the result within `room` characters.

    `form` decides whether a hash replaces the value: `full` never, `hash` always, `any` if the text
    is long and no tolerance can apply. Some canonical results have a hundred million characters.
    """
    if form != "hash":
        floats = type(result) in (list, tuple) and set(map(type, result)) == {float}
        short = form == "any" and not floats
        try:
            return Speller(min(room, LONG) if short else room).spell(result)
        except TooLarge:
            if not short:
                raise
    try:
        return f'["h","{digest(result).hex()}"]'
    except NoForm:
        return '["o","no plain form"]'
