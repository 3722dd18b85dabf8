"""How the tests of the language evaluate: names bound to values, results compared by type as well as by value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dynamicflow.planner.expressions import Bound, ExpressionFailed, ExpressionSyntax, parse
from dynamicflow.planner.templates import parse_template


def value(source: str, /, **names: Any) -> Any:
    """What an expression gives where no name is a node's."""
    return parse(source).compile(lambda name: Bound(lambda context: context[name]))(names)


def value_of_nodes(source: str, /, **names: Any) -> Any:
    """What an expression gives where every name is a node's."""
    return parse(source).compile(lambda name: Bound(lambda context: context[name], node=True))(names)


def template(given: Any, /, **names: Any) -> Any:
    """What a template without findings makes."""
    read = parse_template(given, names)
    assert not [finding for finding in read.findings if not finding.warning]
    return read.compile(lambda name: Bound(lambda context: context[name]))(names)


def failure(source: str, /, **names: Any) -> ExpressionFailed:
    """How an evaluation fails."""
    with pytest.raises(ExpressionFailed) as caught:
        value(source, **names)
    assert caught.value.code == "EXPRESSION_FAILED"
    assert caught.value.line >= 1 and caught.value.column >= 1
    return caught.value


def refusal(source: str) -> ExpressionSyntax:
    """Why a text is no expression."""
    with pytest.raises(ExpressionSyntax) as caught:
        parse(source)
    assert caught.value.code == "EXPRESSION_SYNTAX"
    assert caught.value.line >= 1 and caught.value.column >= 1
    return caught.value


def exact(given: Any) -> str:
    """A text that tells 1, 1.0 and true apart."""
    return json.dumps(given, ensure_ascii=False, allow_nan=False)
