import json
import re
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rounds.engine.schema import SCALARS, pattern_of
from rounds.prompts.outputs import OUTPUTS, schema_of
from rounds.records import UserError

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
BOUND = st.integers(-1200, 1200) | st.floats(-40, 40).map(lambda value: round(value, 3))


def numbers(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    def told(low: float, high: float, out: tuple[bool, bool]) -> dict[str, Any]:
        low, high = min(low, high), max(low, high) + 2
        names = ("exclusiveMinimum" if out[0] else "minimum", "exclusiveMaximum" if out[1] else "maximum")
        return {"type": kind, names[0]: low, names[1]: high}

    return st.builds(told, BOUND, BOUND, st.tuples(st.booleans(), st.booleans()))


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def told(properties: dict[str, Any], needed: list[bool]) -> dict[str, Any]:
        required = [name for name, must in zip(properties, needed, strict=False) if must]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    return st.builds(
        told, st.dictionaries(TEXTS, inner, min_size=1, max_size=4), st.lists(st.booleans(), min_size=4, max_size=4)
    )


def arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def told(items: Any, least: int, more: int) -> dict[str, Any]:
        return {"type": "array", "items": items, "minItems": least, "maxItems": max(1, least + more)}

    fixed = st.lists(inner, min_size=1, max_size=3).map(
        lambda first: {"type": "array", "prefixItems": first, "items": False, "minItems": len(first)}
    )
    return fixed | st.builds(told, inner, st.integers(0, 3), st.integers(0, 2))


LEAVES: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "string"}, {"type": ["integer", "null"]}]),
    st.builds(
        lambda low, more: {"type": "string", "minLength": low, "maxLength": low + more}, *[st.integers(0, 4)] * 2
    ),
    st.lists(TEXTS | st.integers() | st.booleans() | st.none(), min_size=1, max_size=4).map(lambda v: {"enum": v}),
    TEXTS.map(lambda value: {"const": {value: [value, 1.5]}}),
    numbers("integer"),
    numbers("number"),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: (
        objects(inner) | arrays(inner) | st.lists(inner, min_size=1, max_size=3).map(lambda members: {"anyOf": members})
    ),
    max_leaves=6,
)


def pattern_unless_large(schema: dict[str, Any]) -> str:
    try:
        return pattern_of(json.dumps(schema))
    except UserError as error:
        if "grows to more than" not in str(error):
            raise
        return ""


@settings(max_examples=150)
@given(data=st.data(), schema=SCHEMAS)
def test_whatever_matches_is_json_that_obeys_the_schema(data: st.DataObject, schema: dict[str, Any]) -> None:
    pattern = pattern_unless_large(schema)
    assume(pattern)
    # Hypothesis lists every character of a class: few stand for all here, which have a test of their own.
    text = data.draw(st.from_regex(pattern.replace(SCALARS, "a é€"), fullmatch=True))
    assert jsonschema_rs.is_valid(schema, json.loads(text)), text


@given(
    low=st.integers(-3000, 3000), width=st.integers(0, 900), places=st.integers(0, 3), value=st.integers(-3999, 3999)
)
def test_a_number_matches_exactly_when_it_lies_within_the_bounds(low: int, width: int, places: int, value: int) -> None:
    unit = 10**places
    kind = "number" if places else "integer"
    schema = {"type": kind, "minimum": low / unit if places else low, "maximum": (low + width) / unit}
    text = f"{value / unit:.{places}f}"
    found = re.fullmatch(pattern_of(json.dumps(schema)), text) is not None
    assert found == (low <= value <= low + width)


@pytest.mark.parametrize("answer", OUTPUTS)
def test_every_answer_of_our_templates_has_a_pattern(answer: str) -> None:
    assert re.compile(pattern_of(schema_of(answer)))


def test_an_answer_as_models_write_it_matches() -> None:
    pattern = pattern_of(schema_of("triage"))
    told = {"urgency": "urgent", "red_flags": ['a "stiff" neck', "é, 3 > 2\n"], "why": ""}
    assert re.fullmatch(pattern, "\n\n" + json.dumps(told, ensure_ascii=False))
    assert re.fullmatch(pattern, json.dumps(told, ensure_ascii=False, separators=(",", ":")))
    assert not re.fullmatch(pattern, json.dumps(told | {"urgency": "soon"}))
    assert not re.fullmatch(pattern, json.dumps({"urgency": "urgent", "red_flags": []}))


@given(st.characters())
def test_a_string_may_hold_every_character_but_half_a_pair(sign: str) -> None:
    pattern = pattern_of('{"type": "string", "minLength": 1, "maxLength": 1}')
    told = json.dumps(sign, ensure_ascii=False)
    written = not told.startswith('"\\u')  # control characters without a short form
    assert bool(re.fullmatch(pattern, told)) == (written and not 0xD800 <= ord(sign) <= 0xDFFF)
    assert not re.fullmatch(pattern, f'"{sign}"') or json.loads(f'"{sign}"') == sign


def test_definitions_are_followed() -> None:
    dose = {"type": "object", "properties": {"mg": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["mg"]}
    schema = {"$defs": {"dose": dose}, "type": "array", "items": {"$ref": "#/$defs/dose"}, "minItems": 2, "maxItems": 2}
    assert re.fullmatch(pattern_of(json.dumps(schema)), '[{"mg":5}, {"mg":9}]')
    assert not re.fullmatch(pattern_of(json.dumps(schema)), '[{"mg":5}]')


CANARY = "patient-canary"


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        ("{", "the JSON schema is not JSON"),
        ("[]", r"JSON schema at \$: a schema must be an object that says what it allows"),
        ("{}", "'type' must be one of object, array, string, integer, number, boolean, null"),
        ('{"type": "thing"}', "'type' must be one of"),
        ('{"type": "string", "pattern": "a+"}', "'pattern' is not enforced here; leave it out, or ask an endpoint"),
        ('{"type": "string", "patient-canary": 1}', "beside type it has a keyword that is not enforced there"),
        ('{"type": "object", "additionalProperties": {"type": "string"}}', "an object needs 'properties'"),
        ('{"type": "object", "properties": {"patient-canary": {}}}', r"at \$\.properties\[0\]: 'type' must be"),
        ('{"type": "object", "properties": {"a": {"type": "null"}}, "required": ["b"]}', "'required' must list names"),
        ('{"type": "object", "properties": {"a": {"type": "null"}}, "required": [[]]}', "'required' must list names"),
        ('{"type": "array"}', "an array needs 'items' or 'prefixItems'"),
        ('{"type": "array", "items": {"type": "null"}, "maxItems": 0}', "'maxItems' must be at least 1"),
        ('{"type": "array", "prefixItems": [{"type": "null"}], "minItems": 2}', "'prefixItems' must be a list of as"),
        ('{"type": "string", "minLength": -1}', "'minLength' must be a whole number from 0 to"),
        ('{"type": "string", "minLength": 3, "maxLength": 2}', "'maxLength' must be at least 'minLength'"),
        ('{"type": "integer", "minimum": 1e999}', "'minimum' must be a number of at most 15 digits"),
        ('{"type": "integer", "minimum": 5, "maximum": 4}', "no number lies within its bounds"),
        ('{"type": "integer", "enum": ["a"]}', "none of its values is of its type"),
        ('{"enum": [NaN]}', "one of its values cannot be written in JSON"),
        ('{"const": "\\ud800"}', "one of its values cannot be written in JSON"),
        ('{"anyOf": []}', "'anyOf' must be a list of schemas"),
        ('{"allOf": [{"type": "null"}, {"type": "null"}]}', "'allOf' of several schemas is not enforced here"),
        ('{"$ref": "#/nowhere"}', r"'\$ref' must name an entry of '\$defs'"),
        ('{"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}', "leads back to itself"),
        ('{"$defs": [], "type": "null"}', r"'\$defs' must be an object"),
        (
            '{"type": "array", "items": {"type": "string", "maxLength": 9000}, "maxItems": 9}',
            "grows to more than 20000",
        ),
    ],
)
def test_what_cannot_be_enforced_is_one_sentence_without_the_clients_words(schema: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        pattern_of(schema)
    assert CANARY not in str(caught.value)


def test_definitions_that_double_are_refused_before_they_fill_the_memory() -> None:
    definitions: dict[str, Any] = {"a0": {"type": "boolean"}}
    for i in range(1, 200):
        definitions[f"a{i}"] = {"anyOf": [{"$ref": f"#/$defs/a{i - 1}"}] * 2}
    for last, sentence in ((25, "grows to more than 20000 signs"), (199, "nested more than 64 levels deep")):
        with pytest.raises(UserError, match=sentence):
            pattern_of(json.dumps({"$defs": definitions, "$ref": f"#/$defs/a{last}"}))
