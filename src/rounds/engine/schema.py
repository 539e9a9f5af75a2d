"""A JSON schema as one regular expression, which the grammar of every engine in this process takes.

One reading for all engines: a library's own reader passes over keywords it does not know, so that a reply may break the
schema unnoticed. Here such a keyword is refused. What is written is the plainest JSON there is: properties in the order
of the schema, no property it does not name, one blank at most after a comma or colon, no exponents. No sentence repeats
words of the schema, which are a client's. Left out on purpose: recursion (its JSON is no regular language), maps with
free keys, `pattern` and `format`. Keywords: https://json-schema.org/draft/2020-12/json-schema-validation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple, NoReturn

from rounds.records import UserError

LARGEST = 20_000
"""Signs of the expression with every repetition counted out: beyond it a grammar takes seconds to compile."""
DEEPEST = 64
DIGITS = 15
"""Digits of a whole number: what every reader of JSON keeps exactly."""
DECIMALS = 3
"""Most digits behind the point, unless a bound has more."""

NOTES = {
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id", "$comment",
    "$defs", "definitions",
}  # fmt: skip
"""Keywords that ask nothing of the reply."""
REFUSED = (
    "pattern", "format", "multipleOf", "uniqueItems", "contains", "minContains", "maxContains", "not", "oneOf", "if",
    "then", "else", "patternProperties", "propertyNames", "minProperties", "maxProperties", "dependentRequired",
    "dependentSchemas", "unevaluatedItems", "unevaluatedProperties", "additionalItems", "$dynamicRef", "$anchor",
)  # fmt: skip
"""Keywords of the standard that no grammar here enforces; only these are named in a sentence."""

OPTIONAL_BLANK = " ?"
COMMA = "," + OPTIONAL_BLANK
SCALARS = (
    r" !#-\[\]-\x7f" "\x80-\u07ff" "\u0800-\u0fff\u1000-\ucfff\ud000-\ud7ff\ue000-\uffff"
    "\U00010000-\U0003ffff\U00040000-\U000fffff\U00100000-\U0010ffff"
)  # fmt: skip
"""Every character that stands for itself in a JSON string. Cut where UTF-8 changes its lead bytes: xgrammar 0.1.31 lets
bytes that are no UTF-8 into wider ranges, and into a class that says what is not in it."""
CHARACTER = rf'([{SCALARS}]|\\["\\/bfnrt])'
"""One character of a JSON string; no \\u, which could spell half a surrogate pair."""


class _Part(NamedTuple):
    """An expression, and its size with every repetition counted out."""

    text: str
    size: int


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the schema, in words that are no client's, and which definitions are being followed."""

    path: str
    definitions: dict[str, Any]
    following: tuple[str, ...] = ()
    depth: int = 0

    def at(self, step: str) -> _Place:
        if self.depth == DEEPEST:
            raise UserError(f"the JSON schema is nested more than {DEEPEST} levels deep; flatten it.")
        return replace(self, path=f"{self.path}.{step}", depth=self.depth + 1)

    def fail(self, sentence: str) -> NoReturn:
        raise UserError(f"JSON schema at {self.path}: {sentence}.")


def pattern_of(schema: str) -> str:
    """A regular expression, anchored at both ends by whoever uses it, all of whose matches obey the schema.

    Raises:
        UserError: it is no JSON schema, asks for what no grammar here enforces, or is too large or too deep.
    """
    return _read(schema).text


def size_of(schema: str) -> int:
    """Signs of that expression with every repetition counted out, as which a grammar takes memory.

    Raises:
        UserError: as `pattern_of`.
    """
    return _read(schema).size


@lru_cache(maxsize=64)
def _read(schema: str) -> _Part:
    try:
        tree = json.loads(schema)
        schema.encode()
    except (ValueError, RecursionError) as error:
        raise UserError("the JSON schema is not JSON; give one object such as {'type': 'object', …}.") from error
    place = _Place("$", {})
    if isinstance(tree, dict):
        for name in ("$defs", "definitions"):
            held = tree.get(name, {})
            if not isinstance(held, dict):
                place.fail(f"'{name}' must be an object")
            place.definitions.update({f"#/{name}/{key}": value for key, value in held.items()})
    # Models write a line break or two between their thoughts and their answer.
    part = _node(tree, place)
    return _Part(r"\n{0,2}" + part.text, part.size)


def _node(schema: Any, place: _Place) -> _Part:
    if not isinstance(schema, dict):
        place.fail("a schema must be an object that says what it allows, such as {'type': 'string'}")
    asked = {key: value for key, value in schema.items() if key not in NOTES}
    for key in REFUSED:
        if key in asked:
            place.fail(f"'{key}' is not enforced here; leave it out, or ask an endpoint that enforces it")
    if "$ref" in asked:
        part = _reference(asked, place)
    elif "enum" in asked or "const" in asked:
        part = _values(asked, place)
    elif "anyOf" in asked or "allOf" in asked:
        part = _alternatives(asked, place)
    else:
        types = asked.get("type")
        kinds = types if isinstance(types, list) else [types]
        named = [kind for kind in kinds if isinstance(kind, str) and kind in KINDS]
        if not named or len(named) != len(kinds):
            place.fail(f"'type' must be one of {', '.join(KINDS)}, or a list of them")
        keys = {key for kind in named for key in KEYWORDS[kind]}
        _only(asked, {"type", *keys}, place)
        part = _any([KINDS[kind](asked, place) for kind in named])
    return _fit(part, place)


def _fit(part: _Part, place: _Place) -> _Part:
    if part.size > LARGEST:
        place.fail(f"it grows to more than {LARGEST} signs with its repetitions; allow fewer or shorter ones")
    return part


def _only(asked: dict[str, Any], keys: set[str], place: _Place) -> None:
    if any(key not in keys for key in asked):
        place.fail(f"beside {', '.join(sorted(keys & asked.keys()))} it has a keyword that is not enforced there")


def _reference(asked: dict[str, Any], place: _Place) -> _Part:
    name = asked["$ref"]
    _only(asked, {"$ref"}, place)
    if not isinstance(name, str) or name not in place.definitions:
        place.fail("'$ref' must name an entry of '$defs', as in #/$defs/NAME")
    if name in place.following:
        place.fail("'$ref' leads back to itself; a schema must end")
    return _node(place.definitions[name], replace(place, following=(*place.following, name)).at("$ref"))


def _values(asked: dict[str, Any], place: _Place) -> _Part:
    _only(asked, {"enum", "const", "type"}, place)
    values = asked.get("enum", [asked.get("const")])
    if not isinstance(values, list) or ("enum" in asked and "const" in asked):
        place.fail("'enum' must be a list, with no 'const' beside it")
    kinds = asked.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    fitting = [value for value in values if not kinds or any(_is(value, kind) for kind in kinds)]
    if not fitting:
        place.fail("none of its values is of its type")
    try:
        texts = [json.dumps(value, ensure_ascii=False, allow_nan=False) for value in fitting]
        "".join(texts).encode()
    except ValueError:
        place.fail("one of its values cannot be written in JSON")
    return _any([_literal(text) for text in dict.fromkeys(texts)])


def _is(value: Any, kind: Any) -> bool:
    if isinstance(value, bool):
        return bool(kind == "boolean")
    named: dict[Any, Any] = {"string": str, "integer": int, "number": (int, float), "object": dict, "array": list}
    return value is None if kind == "null" else isinstance(value, named.get(kind, ()))


def _alternatives(asked: dict[str, Any], place: _Place) -> _Part:
    key = "anyOf" if "anyOf" in asked else "allOf"
    _only(asked, {key}, place)
    members = asked[key]
    if not isinstance(members, list) or not members:
        place.fail(f"'{key}' must be a list of schemas")
    if key == "allOf" and len(members) > 1:
        place.fail("'allOf' of several schemas is not enforced here; write them as one")
    return _any([_node(member, place.at(f"{key}[{i}]")) for i, member in enumerate(members)])


def _object(asked: dict[str, Any], place: _Place) -> _Part:
    properties, required = asked.get("properties"), asked.get("required", [])
    if not isinstance(properties, dict) or not properties:
        place.fail("an object needs 'properties': a map with free keys is not enforced here")
    if not isinstance(required, list) or any(not isinstance(name, str) or name not in properties for name in required):
        place.fail("'required' must list names of 'properties'")
    members: list[_Part] = []
    for i, (name, schema) in enumerate(properties.items()):
        key = _literal(json.dumps(name, ensure_ascii=False))
        members.append(_join([key, _raw(":" + OPTIONAL_BLANK), _node(schema, place.at(f"properties[{i}]"))]))
    needed = [name in required for name in properties]
    if True not in needed:
        # The first property that is written has no comma before it, whichever it is.
        tails = [_join([member, *map(_after, members[i + 1 :])]) for i, member in enumerate(members)]
        return _join([_raw(r"\{"), _maybe(_any(tails)), _raw(r"\}")])
    anchor = needed.index(True)
    before = [_maybe(_join([member, _raw(COMMA)])) for member in members[:anchor]]
    rest = zip(members[anchor + 1 :], needed[anchor + 1 :], strict=True)
    after = [_join([_raw(COMMA), member]) if must else _after(member) for member, must in rest]
    return _join([_raw(r"\{"), *before, members[anchor], *after, _raw(r"\}")])


def _array(asked: dict[str, Any], place: _Place) -> _Part:
    least, most = _count(asked, "minItems", place) or 0, _count(asked, "maxItems", place)
    if "prefixItems" in asked:
        first = asked["prefixItems"]
        if (
            not isinstance(first, list)
            or not first
            or not least <= len(first) <= (len(first) if most is None else most)
        ):
            place.fail("'prefixItems' must be a list of as many schemas as 'minItems' and 'maxItems' allow")
        parts = [_node(schema, place.at(f"prefixItems[{i}]")) for i, schema in enumerate(first)]
        inner = [part for member in parts for part in (_raw(COMMA), member)][1:]
        return _join([_raw(r"\["), *inner, _raw(r"\]")])
    if "items" not in asked:
        place.fail("an array needs 'items' or 'prefixItems'")
    if most is not None and most < max(least, 1):
        place.fail("'maxItems' must be at least 1 and at least 'minItems'")
    item = _node(asked["items"], place.at("items"))
    more = _times(_join([_raw(COMMA), item]), max(0, least - 1), None if most is None else most - 1)
    body = _join([item, more])
    return _join([_raw(r"\["), body if least else _maybe(body), _raw(r"\]")])


def _string(asked: dict[str, Any], place: _Place) -> _Part:
    least, most = _count(asked, "minLength", place) or 0, _count(asked, "maxLength", place)
    if most is not None and most < least:
        place.fail("'maxLength' must be at least 'minLength'")
    return _join([_raw('"'), _times(_Part(CHARACTER, 2), least, most), _raw('"')])


def _count(asked: dict[str, Any], key: str, place: _Place) -> int | None:
    value = asked.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST):
        place.fail(f"'{key}' must be a whole number from 0 to {LARGEST}")
    return value


def _integer(asked: dict[str, Any], place: _Place) -> _Part:
    return _between(asked, place, 0)


def _number(asked: dict[str, Any], place: _Place) -> _Part:
    if not asked.keys() & set(BOUNDS):
        return _Part(rf"-?(0|[1-9][0-9]{{0,{DIGITS - DECIMALS - 1}}})(\.[0-9]{{1,{DECIMALS}}})?", DIGITS + DECIMALS)
    return _between(asked, place, DECIMALS)


def _between(asked: dict[str, Any], place: _Place, decimals: int) -> _Part:
    """Numbers within the bounds; with `decimals` also those with so many digits behind the point, or fewer."""
    bounds: dict[str, Decimal] = {}
    for key in BOUNDS:
        value = asked.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 10**DIGITS:
            place.fail(f"'{key}' must be a number of at most {DIGITS} digits")
        bounds[key] = Decimal(value if isinstance(value, int) else repr(value))
        exponent = bounds[key].as_tuple().exponent
        if decimals and isinstance(exponent, int):
            decimals = max(decimals, min(2 * DECIMALS, -exponent))
    texts: list[str] = []
    for places in range(decimals + 1):
        low, high = _scaled(bounds, 10**places)
        if low < 0:
            texts += ["-" + text for text in _digits(max(1, -high), -low, places)]
        if high >= 0:
            texts += _digits(max(0, low), high, places)
    if not texts:
        place.fail("no number lies within its bounds")
    return _any([_raw(text) for text in texts])


def _scaled(bounds: dict[str, Decimal], unit: int) -> tuple[int, int]:
    """Least and greatest whole number of `unit`ths within the bounds."""
    edge = 10**DIGITS - 1
    lows, highs = [-edge], [edge]
    for key, bound in bounds.items():
        scaled = bound * unit
        if key == "minimum":
            lows.append(int(scaled.to_integral_value(ROUND_CEILING)))
        elif key == "exclusiveMinimum":
            lows.append(int(scaled.to_integral_value(ROUND_FLOOR)) + 1)
        elif key == "maximum":
            highs.append(int(scaled.to_integral_value(ROUND_FLOOR)))
        else:
            highs.append(int(scaled.to_integral_value(ROUND_CEILING)) - 1)
    return max(lows), min(highs)


def _digits(low: int, high: int, places: int) -> list[str]:
    """Expressions for low..high, both at least 0, written with a point before the last `places` digits."""
    found: list[str] = []
    for length in range(max(len(str(low)), places + 1), max(len(str(high)), places + 1) + 1):
        first = max(low, 10 ** (length - 1) if length > places + 1 else 0)
        last = min(high, 10**length - 1)
        if first <= last:
            for row in _same_length(str(first).zfill(length), str(last).zfill(length)):
                whole, behind = row[: length - places], row[length - places :]
                found.append(_short(whole) + (r"\." + _short(behind) if behind else ""))
    return found


def _short(row: Sequence[str]) -> str:
    """The classes one after another, runs of one class counted."""
    runs = [(sign, len(list(run))) for sign, run in groupby(row)]
    return "".join(sign + (f"{{{count}}}" if count > 1 else "") for sign, count in runs)


def _same_length(low: str, high: str) -> list[list[str]]:
    """Rows of digit classes that together match low..high; as many digits in all of them."""
    if set(low) <= {"0"} and set(high) <= {"9"}:
        return [["[0-9]"] * len(low)]
    first, last, rows = int(low[0]), int(high[0]), []
    if first == last:
        return [[low[0], *row] for row in _same_length(low[1:], high[1:])]
    nines, zeros = "9" * (len(low) - 1), "0" * (len(low) - 1)
    if low[1:] != zeros:
        rows += [[low[0], *row] for row in _same_length(low[1:], nines)]
        first += 1
    top = []
    if high[1:] != nines:
        top = [[high[0], *row] for row in _same_length(zeros, high[1:])]
        last -= 1
    middle = [[f"[{first}-{last}]" if first < last else str(first), *["[0-9]"] * len(zeros)]] if first <= last else []
    return rows + middle + top


BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
KINDS: dict[str, Callable[[dict[str, Any], _Place], _Part]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda asked, place: _raw("(true|false)"),
    "null": lambda asked, place: _raw("null"),
}
"""Every value of `type`."""
KEYWORDS: dict[str, tuple[str, ...]] = {
    "object": ("properties", "required", "additionalProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("minLength", "maxLength"),
    "integer": BOUNDS,
    "number": BOUNDS,
    "boolean": (),
    "null": (),
}


def _raw(text: str) -> _Part:
    return _Part(text, len(text))


def _literal(text: str) -> _Part:
    return _raw("".join("\\" + sign if sign in r"\.^$|?*+()[]{}" else sign for sign in text))


def _join(parts: Sequence[_Part]) -> _Part:
    return _Part("".join(part.text for part in parts), sum(part.size for part in parts))


def _any(parts: Sequence[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    return _Part(f"({'|'.join(part.text for part in parts)})", sum(part.size + 1 for part in parts))


def _maybe(part: _Part) -> _Part:
    return _Part(f"({part.text})?", part.size)


def _after(member: _Part) -> _Part:
    return _maybe(_join([_raw(COMMA), member]))


def _times(part: _Part, least: int, most: int | None) -> _Part:
    """`least` to `most` of them; without `most`, any number from `least` on."""
    if most is None:
        return _Part(f"({part.text}){{{least},}}" if least else f"({part.text})*", part.size * (least + 1))
    return _Part(f"({part.text}){{{least},{most}}}", part.size * max(most, 1))
