"""Forms of other dialects that are more than another name for a field.

B's ``operation`` of a map, filter or reduce; counts of retries; an expression as a node; a switch whose branch a model
picks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from ...values import Json, pointer
from .conditions import with_item
from .draft import Deferred, Draft
from .rename import is_one_expression
from .report import ABSENT, Report, kind_of, short
from .shapes import duration, same, whole

if TYPE_CHECKING:
    from .nodes import Entry, Reader

_SPEC: Final = ("tool", "llm", "expression")
_OPTION: Final = ("id", "name", "description")


# ── B: {"over", "operation": {"type": "tool" | "llm" | "expression", …}} ────────────────────────────────────────────


def unfold(value: Json, given: str, draft: Draft, reader: Reader) -> Iterator[tuple[str, Json, str]]:
    """The fields of B's ``operation`` as fields of the node: (name, value, pointer)."""
    if not isinstance(value, dict):
        reader.report.shape(given, value, 'an object with "over" and "operation"')
        return
    if "operation" not in value and value.get("type") in _SPEC:  # the inner object without its frame
        over = {key: part for key, part in value.items() if key == "over"}
        yield from (("over", part, given + "/over") for part in over.values())
        yield from _spec({key: part for key, part in value.items() if key != "over"}, given, draft, reader)
        return
    for key, part in value.items():
        where = given + pointer(key)
        if key == "operation":
            yield from _spec(part, where, draft, reader)
        else:
            yield key, part, where
    if "operation" not in value:
        how = 'Say what happens to each item: {"type": "tool" | "llm" | "expression", …}.'
        reader.report.add("MISSING_OPERATION_SPEC", given, "the operation does not say what to do", how)
        yield _stand_in(draft, given)


def _stand_in(draft: Draft, given: str) -> tuple[str, Json, str]:
    return ("condition", "$input == null", given) if draft.type == "filter" else ("body", [], given)


def _spec(spec: Json, given: str, draft: Draft, reader: Reader) -> Iterator[tuple[str, Json, str]]:
    """What is done to each item: a node without id, or for a filter its condition."""
    if not isinstance(spec, dict):
        reader.report.shape(given, spec, 'an object like {"type": "expression", "expression": "$item.price * 2"}')
        yield _stand_in(draft, given)
        return
    node = {key: part for key, part in spec.items() if key != "initialValue"}
    if "initialValue" in spec:
        yield "initial", spec["initialValue"], given + "/initialValue"
    if draft.type == "filter":
        yield "condition", node, given
        return
    type_ = node.get("type")
    if type_ not in _SPEC:
        message = f"an operation has type tool, llm or expression, found {kind_of(type_)}"
        reader.report.add("INVALID_SHAPE", given, message, expected=list(_SPEC), available=_SPEC)
        yield _stand_in(draft, given)
        return
    if type_ == "tool" and node.keys().isdisjoint({"inputs", "args", "input"}):
        node["inputs"] = {"acc": "$acc", "item": "$item"} if draft.type == "reduce" else "$item"
    if type_ == "llm" and "prompt" in node:
        node["prompt"] = with_item(node["prompt"])
    yield "body", node, given


# ── counts of retries ───────────────────────────────────────────────────────────────────────────────────────────────


def merge_retries(draft: Draft, given: Mapping[str, Entry], report: Report) -> None:
    """``retries`` and ``retryDelay`` as the object that ``retry`` is; they add to one that does not say the same."""
    if not given:
        return
    own = draft.fields.get("retry")
    merged: dict[str, Json] = dict(own) if isinstance(own, dict) else {}
    if (retries := given.get("retries")) is not None:
        count = whole(retries.value)
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            report.shape(retries.given, retries.value, "a number of retries (a whole number ≥ 0)")
        elif own is not None:
            message = f"'retries' and 'retry' (at {draft.place('retry')}) both say how often to try"
            report.add("DIALECT_AMBIGUOUS", retries.given, message, "Keep one of them.")
        elif count:
            merged["maxAttempts"] = count + 1
        draft.places.setdefault("retry", retries.given)
    if (delay := given.get("retryDelay")) is not None:
        time = duration(delay.value, delay.given, report)
        if time is not ABSENT and not same(time, 1000):
            merged.setdefault("initialDelay", time)
        draft.places.setdefault("retry", delay.given)
    draft.fields["retry"] = merged


# ── after all fields are read ───────────────────────────────────────────────────────────────────────────────────────


def finish(draft: Draft, reader: Reader) -> None:
    """Bring the accepted variants into the canonical one; a node that lacks its core becomes a value null."""
    if draft.variant == "value:expression":
        _expression(draft, reader.report)
    elif draft.variant == "switch:llm":
        _llm_switch(draft, reader.report)
    elif draft.fields.get("toolId", "") is ABSENT or draft.fields.get("plan", "") is ABSENT:
        kept = [name for name in ("description", "onError", "timeout") if name in draft.fields]
        draft.type = draft.variant = "value"
        draft.fields = {"value": None} | {name: draft.fields[name] for name in kept}


def _expression(draft: Draft, report: Report) -> None:
    source = draft.fields.pop("expression", ABSENT)
    draft.variant = "value"
    draft.places["value"] = draft.place("expression")
    if source is ABSENT:
        draft.fields["value"] = None
        return
    draft.fields["value"] = "${" + source + "}"
    if not is_one_expression(draft.fields["value"]):
        message = f"{short(source)!r} is not one expression: its brackets or quotes do not match"
        report.add("EXPRESSION_SYNTAX", draft.place("value"), message)
        draft.fields["value"] = None


def read_options(value: Json, given: str, report: Report) -> Json:
    """The options of a switch as a list of {id, name, description}; a text is an id."""
    if not isinstance(value, list) or not value:
        report.shape(given, value, "a list of options, at least one")
        return ABSENT
    made: dict[str, dict[str, str]] = {}
    for at, option in enumerate(value):
        where = f"{given}/{at}"
        parts = {"id": option} if isinstance(option, str) else option
        if not _is_option(parts, where, report):
            continue
        if parts["id"] in made:
            report.add("INVALID_SHAPE", where, f"the option {short(parts['id'])!r} stands twice")
        made[parts["id"]] = parts
    return list(made.values()) or ABSENT


def _is_option(option: Any, given: str, report: Report) -> bool:
    if not isinstance(option, dict) or not isinstance(option.get("id"), str):
        report.shape(given, option, "an option (an object with id, name, description)")
        return False
    right = True
    for key, part in option.items():
        if key not in _OPTION:
            near = report.nearest(key, _OPTION)
            report.add(
                "UNKNOWN_FIELD", given + pointer(key), f"an option has no field {short(key)!r}", near, available=_OPTION
            )
        elif not isinstance(part, str):
            report.shape(given + pointer(key), part, "a string")
            right = False
    return right


def _llm_switch(draft: Draft, report: Report) -> None:
    """``options`` for a prompt: a model answers with the id of one, and the case of that name runs."""
    options = draft.fields.pop("options", None) or []
    prompt = draft.fields.pop("prompt", "")
    ids = [option["id"] for option in options]
    for path in list(draft.bodies):
        if path[0] == "cases" and len(path) == 2 and options and path[1] not in ids:
            where = draft.place("cases") + pointer(path[1])
            near = report.nearest(str(path[1]), ids)
            message = f"no option is called {short(str(path[1]))!r}"
            report.add("INVALID_SHAPE", where, message, near, available=ids)
    draft.variant = "switch"
    draft.places["on"] = draft.place("prompt")
    schema = {"type": "object", "properties": {"choice": {"enum": ids}}, "required": ["choice"]}
    test = Draft("llm", "llm", draft.given, suffix="test", depth=draft.depth + 1)
    test.fields = {"prompt": _with_options(prompt, options), "schema": schema}
    test.places = {"prompt": draft.place("prompt"), "schema": draft.place("options")}
    draft.bodies[("test",)].append(test)
    draft.fields["on"] = Deferred(test, ".choice")


def _with_options(prompt: Json, options: list[dict[str, str]]) -> Json:
    if not isinstance(prompt, str):
        return prompt
    lines = [_line(option) for option in options]
    return "\n".join((prompt, "", "Choose one option and answer with its id:", *lines))


def _line(option: Mapping[str, str]) -> str:
    says = ": ".join(option[key] for key in ("name", "description") if option.get(key))
    return f"- {option['id']}" + (f": {says}" if says else "")
