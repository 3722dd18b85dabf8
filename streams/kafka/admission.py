"""What a request becomes: facts for the log of its run, or the reason why it can be none. No IO."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...errors import Problem
from ...planner.options import Options
from ...values import Json, stamp
from ..core import events as e
from ..core.events import Event, envelope, event_id
from ..planning import Accepted, CheckedPlans, failed, published, tenant_of
from ..requests import ControlRequest, RequestInvalid, StartRequest, start_json
from .catalog import Catalog


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where a request stands. What it becomes is named after it, so that a redelivery makes the same."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """When it was appended."""

    @property
    def text(self) -> str:
        return f"{self.topic}.{self.partition}.{self.offset}"


def run_id_at(place: Coordinates) -> str:
    """The id of a request that names none: a UUIDv7 of its append time and a hash of its coordinates."""
    noise = hashlib.sha256(place.text.encode()).digest()
    body = bytearray(place.timestamp_ms.to_bytes(6, "big") + noise[:10])
    body[6] = 0x70 | (body[6] & 0x0F)
    body[8] = 0x80 | (body[8] & 0x3F)
    text = body.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Admission:
    """Turns requests into facts. Checks of plans are kept by their content."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._plans = CheckedPlans(lambda: catalog.specs, lambda: catalog.joins)
        catalog.on_change(self._plans.clear)

    def facts(self, request: StartRequest | ControlRequest, place: Coordinates) -> list[Event]:
        """The facts of a request. Raises RequestInvalid for one that no release, or not this one, can carry out."""
        if isinstance(request, StartRequest):
            return self._start(request, place)
        return [_control(request, place)]

    def _start(self, request: StartRequest, place: Coordinates) -> list[Event]:
        run_id = request.run_id or run_id_at(place)
        at = stamp(place.timestamp_ms)
        if request.template is not None:
            raise _not_yet("/template", "templates", run_id, "start")
        options = request.chosen
        plan = self._plan(request, options)
        made = start_json(request, run_id, plan=plan.check.plan_hash if plan is not None else None)
        tenant = tenant_of(made)
        requested = envelope(event_id(run_id, None, None, None, "flow-requested"), run_id, at)
        facts: list[Event] = [e.FlowRequested.trusted({**requested, "tenant": tenant, "request": made})]
        if plan is not None:
            refusal = plan.refusal(request.input, options)
            if refusal is None:
                facts.append(published(run_id, plan, at, tenant=tenant))
            else:
                facts.append(failed(run_id, refusal, at, tenant=tenant))
        elif request.plan is not None:
            facts.append(failed(run_id, self._unknown_plan(str(request.plan)), at, tenant=tenant))
        return facts

    def _plan(self, request: StartRequest, options: Options) -> Accepted | None:
        given = request.plan
        if given is None:
            return None
        if isinstance(given, str):
            given = self.catalog.plans.get(given)
            if given is None:
                return None
        if request.joins and isinstance(given, dict):
            own = [join.model_dump(by_alias=True, exclude_defaults=True) for join in request.joins]
            given = {**given, "joins": [*(given.get("joins") or []), *own]}
        return self._plans.of(given, options, request.tools)

    def _unknown_plan(self, name: str) -> RequestInvalid:
        known = tuple(sorted(self.catalog.plans))
        message = f"no plan is registered as {name!r}; register it, or send the plan itself"
        problem = Problem("PLAN_NOT_FOUND", "/plan", message, available=known)
        return RequestInvalid("PLAN_INVALID", message, (problem,))


def _control(request: ControlRequest, place: Coordinates) -> Event:
    make = _CONTROLS.get(request.type)
    if make is None:
        raise _not_yet("/type", f"{request.type!r} requests", request.run_id, request.type)
    told = request.to_json()
    kind, fields = make(told)
    node = fields.get("node_id")
    serial = request.id or place.text
    ident = f"{request.run_id}/{node or '-'}/-/-/{request.type}/{serial}"
    at = {"topic": place.topic, "partition": place.partition, "offset": place.offset}
    control = {key: value for key, value in told.items() if key not in ("output", "runId")} | {"at": at}
    return kind.trusted({**envelope(ident, request.run_id, stamp(place.timestamp_ms)), **fields, "control": control})


def _reason(told: Mapping[str, Json]) -> dict[str, Any]:
    return {"reason": str(told.get("reason") or "")}


def _resolution(told: Mapping[str, Json]) -> tuple[type[e.Control], dict[str, Any]]:
    item = tuple(told.get("item") or ()) or None
    about = {"node_id": told["nodeId"], "item": item, "resolution": told["resolution"], "output": told.get("output")}
    return e.StepResolved, _reason(told) | about


_CONTROLS: Final[dict[str, Callable[[Mapping[str, Json]], tuple[type[e.Control], dict[str, Any]]]]] = {
    "cancel": lambda told: (e.CancelRequested, _reason(told)),
    "pause": lambda told: (e.PauseRequested, _reason(told)),
    "resume": lambda told: (e.ResumeRequested, _reason(told)),
    "resolve": _resolution,
}


def _not_yet(path: str, what: str, run_id: str | None, kind: str) -> RequestInvalid:
    message = f"{what} are understood, but this release cannot carry them out"
    return RequestInvalid("NOT_SUPPORTED_YET", message, (Problem("NOT_SUPPORTED_YET", path, message),), run_id, kind)
