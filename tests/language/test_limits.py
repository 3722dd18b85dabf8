"""Limits of one evaluation: steps, texts, lists (canonical.md §3)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.language.language_support import failure, template, value

MIB = 1024 * 1024


class TestSteps:
    """One for each operator, path, literal and call evaluated, again for every element; 100 000 in all."""

    @pytest.mark.parametrize(
        ("source", "elements", "each"),
        [
            ("$l.map($item).size()", 99_997, 1),
            ("$l.map($item * 2).size()", 33_332, 3),
            ("$l.filter($item > 1 && $item < 5).size()", 24_999, 4),
            ("$l.sum($item + $item + $item)", 19_999, 5),
            ("$l.count([$item.x, 1] == 1)", 19_999, 5),
            ("$l.map($k[$item]).size()", 49_998, 2),
        ],
    )
    def test_are_counted_for_every_element(self, source: str, elements: int, each: int) -> None:
        assert elements * each <= 100_000 - 2
        value(source, l=[0] * elements, k=[])
        failure(source, l=[0] * (elements + 3), k=[])

    def test_of_what_is_not_evaluated_are_not_counted(self) -> None:
        expensive = "$m.count($item == 1) == 5"
        names = {"l": [0] * 100, "m": [0] * 5_000}
        value(f"$l.count($item && {expensive})", **names)
        failure(f"$l.count(!$item && {expensive})", **names)
        value(f"$l.count($item ? {expensive} : 1)", **names)
        failure(f"$l.count($item ? 1 : {expensive})", **names)
        value(f"$l.count(coalesce($item, {expensive}))", **names)
        failure(f"$l.count(coalesce(null, {expensive}))", **names)
        value(f"$l.any({expensive} || 1)", **names)

    def test_of_nested_functions_multiply(self) -> None:
        failure("$l.map($l.map($l.size()))", l=list(range(320)))
        value("$l.map($l.size())", l=list(range(320)))

    def test_of_keys_in_a_projection_are_counted(self) -> None:
        failure("$l[*][$l[*][$k.size()].size()]", l=list(range(400)), k=[])
        value("$l[*][$k.size()]", l=list(range(400)), k=[])

    def test_of_a_path_are_one_however_long_the_list(self) -> None:
        assert value("$l[*].a.b[0].length", l=[{}] * 100_000)[-1] is None

    def test_a_hopeless_expression_ends_quickly(self) -> None:
        source = "$l"
        for _ in range(10):
            source = f"$l.map({source})"
        failure(source, l=list(range(1000)))


class TestText:
    @pytest.mark.parametrize(
        "source",
        [
            "$t + 'x'",
            "'x' + $t",
            "join([$t, 'x'])",
            "join($many, $t)",
            "replace($t, 'a', 'bb')",
            "string([$t])",
            "upper($t + '')+ 'x'",
        ],
    )
    def test_has_at_most_1_mib(self, source: str) -> None:
        failure(source, t="a" * MIB, many=[""] * 1000)

    @pytest.mark.parametrize("source", ["$t + ''", "join([$t])", "replace($t, 'a', 'b')", "string($t)", "lower($t)"])
    def test_of_just_that_is_made(self, source: str) -> None:
        assert len(value(source, t="a" * MIB)) == MIB

    @pytest.mark.parametrize(
        "source", ["lower($t)", "trim($t)", "slice($t, 0)", "$t + ''", "replace($t, 'b', 'c')", "string($t)"]
    )
    def test_longer_ones_are_not_produced_of_longer_ones(self, source: str) -> None:
        failure(source, t="a" * (MIB + 1))

    def test_is_counted_in_bytes(self) -> None:
        failure("$t + 'é'", t="é" * (MIB // 2))
        assert len(value("$t + ''", t="é" * (MIB // 2))) == MIB // 2

    def test_in_a_template_has_the_same_limit(self) -> None:
        assert len(template("${$t}${$t}", t="a" * (MIB // 2))) == MIB
        with pytest.raises(Exception, match="1 MiB"):
            template("${$t}${$t}!", t="a" * (MIB // 2))

    def test_is_found_in_longer_ones(self) -> None:
        assert value("'b' in $t || $t matches 'b$' || contains($t, 'b')", t="a" * 2 * MIB + "b") is True


class TestList:
    @pytest.mark.parametrize(
        "source",
        [
            "$l + [1]",
            "flatten([$l, [1]])",
            "$l[*].x + [1]",
            "unique($m)",
            "sort($m)",
            "slice($m, 0)",
            "$m[*].x",
            "$m.map(1)",
            "$m.filter(1)",
            "flatten($m)",
            "split($t, ',')",
            "split($t, '')",
            "keys($o)",
            "values($o)",
        ],
    )
    def test_has_at_most_100_000_elements(self, source: str) -> None:
        numbers = list(range(100_001))
        failure(source, l=numbers[1:], m=numbers, t="," * 100_001, o={str(n): n for n in numbers})

    @pytest.mark.parametrize(
        "source", ["sort($l)", "$l[*].x", "slice($l, 0)", "flatten([$l])", "unique($l)", "$l + []"]
    )
    def test_of_just_that_is_made(self, source: str) -> None:
        assert len(value(source, l=list(range(100_000)))) == 100_000

    def test_longer_ones_are_read(self) -> None:
        names: dict[str, Any] = {"m": list(range(100_001))}
        assert value("size($m) + $m.length + last($m) + $m[-1] + max($m)", **names) == 100_001 * 2 + 100_000 * 3
        assert value("5 in $m && contains($m, 7)", **names) is True
