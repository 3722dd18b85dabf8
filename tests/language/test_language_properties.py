"""What holds of every expression: a second evaluator agrees, and nothing but the two documented errors is raised."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dynamicflow.planner.expressions import (
    Bound,
    ExpressionFailed,
    ExpressionSyntax,
    Named,
    add_dollars,
    parse,
    text_form,
)
from dynamicflow.planner.templates import parse_template
from dynamicflow.planner.types import UNKNOWN, fits, of_value, possible
from tests.language.language_support import exact
from tests.language.reference_evaluator import PER_ELEMENT, Fails, Tree, kind, run, show, text

QUICK = settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(
    ["a", "b", "ab", "1", "true", "'", '"', "\\"]
)
NUMBERS = (
    st.integers(-20, 20)
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.5, -0.0, 1.0, 2.0**53, 1e300, 1e-300])
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
KEYS = st.sampled_from(["a", "b", "length", "output", "0", "x y"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
NAMES = ("a", "b", "l", "item", "index")
CONTEXTS = st.fixed_dictionaries(
    {"a": VALUES, "b": VALUES, "l": st.lists(VALUES, max_size=4), "item": VALUES, "index": st.integers(0, 3)}
)
UNSIGNED = SCALARS.map(
    lambda value: abs(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
)
OPERATORS = ["==", "===", "!=", "!==", "<", "<=", ">", ">=", "in", "not in", "+", "-", "*", "/", "%", "&&", "||"]
ONE = "typeOf string boolean lower upper length size keys values first last count any all unique flatten join sum sort min max avg".split()


def _inside(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    part = (
        st.tuples(st.just("field"), st.sampled_from(["a", "b", "length", "0", "1", "output"]))
        | st.tuples(st.just("key"), inner)
        | st.just(("star",))
    )
    return st.one_of(
        st.tuples(st.just("list"), st.lists(inner, max_size=3)),
        st.tuples(st.just("object"), st.dictionaries(KEYS, inner, max_size=2)),
        st.tuples(st.sampled_from(["not", "minus"]), inner),
        st.tuples(st.sampled_from(OPERATORS), inner, inner),
        st.tuples(st.just("choice"), inner, inner, inner),
        st.tuples(st.just("path"), inner, st.lists(part, min_size=1, max_size=3)),
        st.tuples(st.just("call"), st.sampled_from(ONE), st.tuples(inner)),
        st.tuples(st.just("call"), st.sampled_from(PER_ELEMENT), st.tuples(inner, inner)),
        st.tuples(
            st.just("call"),
            st.sampled_from(["contains", "startsWith", "has", "join", "coalesce"]),
            st.tuples(inner, inner),
        ),
    )


TREES: st.SearchStrategy[Tree] = st.recursive(
    st.tuples(st.just("literal"), UNSIGNED) | st.tuples(st.just("ref"), st.sampled_from(NAMES)), _inside, max_leaves=8
)


def evaluated(source: str, names: dict[str, Any]) -> Any:
    """Its value, or ExpressionFailed itself where it fails."""
    try:
        return parse(source).compile(lambda name: Bound(lambda context: context[name]))(names)
    except ExpressionFailed:
        return ExpressionFailed


class TestTwoEvaluators:
    @QUICK
    @given(TREES, CONTEXTS)
    def test_agree(self, tree: Tree, names: dict[str, Any]) -> None:
        source = show(tree)
        try:
            parse(source)
        except ExpressionSyntax as refused:
            assert "4096" in refused.message or "64" in refused.message, source
            return
        got = evaluated(source, names)
        try:
            expected = run(tree, names)
        except Fails:
            assert got is ExpressionFailed, source
        else:
            assert got is not ExpressionFailed, source
            assert exact(got) == exact(expected), source

    @QUICK
    @given(VALUES)
    def test_agree_on_the_text_form(self, value: Any) -> None:
        assert text_form(value) == text(value)


class TestInference:
    @QUICK
    @given(TREES, CONTEXTS)
    def test_says_a_type_that_the_value_has(self, tree: Tree, names: dict[str, Any]) -> None:
        """From what is known of the very values, too: and an error found for certain is one that happens or may not run."""
        source = show(tree)
        try:
            expression = parse(source)
        except ExpressionSyntax:
            return
        for known in (UNKNOWN, None):
            made, _ = expression.infer(lambda name, known=known: Named(known or of_value(names[name])))  # type: ignore[misc]
            got = evaluated(source, names)
            if got is not ExpressionFailed:
                assert kind(got) in possible(made), source
                assert got is None or fits(of_value(got), made)

    @QUICK
    @given(TREES, CONTEXTS)
    def test_of_an_operation_that_works_finds_nothing(self, tree: Tree, names: dict[str, Any]) -> None:
        """One operation on references: what is certain to fail fails."""
        if tree[0] in ("literal", "ref") or len(tree) < 3:
            return
        flat = [("ref", "a"), ("ref", "b"), ("ref", "l")]
        match tree:
            case ("call", name, args):
                single: Tree = ("call", name, flat[: len(args)] if name not in PER_ELEMENT else flat[2:])
            case ("choice" | "path" | "list" | "object", *_):
                return
            case (operator, _, _):
                single = (operator, flat[0], flat[1])
        source = show(single)
        _, found = parse(source).infer(lambda name: Named(of_value(names[name])))
        if evaluated(source, names) is not ExpressionFailed and tree[0] not in ("==", "===", "!=", "!=="):
            assert found == [], source


FRAGMENTS = st.sampled_from(
    "$a $b.c $l[*] .x [0] [ ] ( ) { } , : ? && || and or not ! - + * / % == === != < <= > >= in matches true null undefined "
    "1 2.5 'a' \"b\" ' \" \\ $ $$ ${ map( .map( filter( size() lower( coalesce( $item $index a item \n \t é 😀 \ud800 \x00 1e999 .5".split(
        " "
    )
)


class TestArbitraryText:
    @QUICK
    @given(
        st.text(max_size=40)
        | st.lists(FRAGMENTS, max_size=12).map("".join)
        | st.lists(FRAGMENTS, max_size=12).map(" ".join)
    )
    @example("\ud800")
    @example("'\ud800'")
    @example("((((" * 1000)
    @example("$a" + "[" * 100)
    def test_is_an_expression_or_expression_syntax(self, source: str) -> None:
        try:
            expression = parse(source)
        except ExpressionSyntax as refused:
            assert refused.line >= 1 and refused.column >= 1 and refused.message
            return
        expression.infer(lambda name: Named(UNKNOWN))
        try:
            exact(
                expression.compile(lambda name: Bound(lambda context: context.get(name)))({"a": [{"c": 1}], "l": ["x"]})
            )
        except ExpressionFailed as failed:
            assert failed.line >= 1 and failed.column >= 1 and failed.message

    @QUICK
    @given(st.text(max_size=40) | st.lists(FRAGMENTS, max_size=12).map("".join))
    def test_is_a_template_or_has_findings(self, source: str) -> None:
        read = parse_template({"k": [source]}, ("a", "b", "l"))
        read.infer(lambda name: Named(UNKNOWN))
        if any(not finding.warning for finding in read.findings):
            assert all(finding.pointer == "/k/0" for finding in read.findings)
            return
        try:
            read.compile(lambda name: Bound(lambda context: context.get(name)))({})
        except ExpressionFailed as failed:
            assert failed.message

    @QUICK
    @given(st.text(st.characters(exclude_characters="$", exclude_categories=["Cs"])))
    def test_without_a_dollar_is_itself(self, source: str) -> None:
        read = parse_template(source, ("a",))
        assert read.findings == () and read.literal
        assert read.compile(lambda name: Bound(lambda context: None))({}) == source

    @QUICK
    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_survives_a_string_literal(self, value: str) -> None:
        if len(value) < 300:
            assert evaluated(show(("literal", value)), {}) == value

    @QUICK
    @given(st.text(max_size=40))
    def test_gains_dollars_without_an_error(self, source: str) -> None:
        assert add_dollars(add_dollars(source)) == add_dollars(source)
