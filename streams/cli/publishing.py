"""``run`` in a cluster, ``publish`` and ``register``: requests go into its topic, its workers carry them out."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeAlias

import uuid_utils

from ...errors import UsageError
from ...values import Json, NotJson, decode, encode, stamp
from ..clock import SystemClock
from ..core.result import run_error, standing_record
from ..core.state import new_run
from ..kafka.run import KafkaRun
from ..requests import StartRequest, read_request, start_request
from .errors import INTERRUPTED, REJECTED, exit_code
from .inputs import json_argument, load_tools, prompted, read_bytes, read_labels, read_options, well_formed
from .kafka_place import KafkaPlace
from .output import document, err, text
from .places import Watching
from .reading import watched
from .report import report
from .running import Job
from .view import view_for_people

Begun: TypeAlias = tuple[dict[str, Json] | None, int | None]
"""The result of a start that was rejected, and the offset of the run's first record."""
Begin: TypeAlias = Callable[[], Coroutine[Any, Any, Begun]]


@dataclass(frozen=True, slots=True)
class Order:
    """The command line of ``publish``, as given."""

    prompt: str | None
    plan: str | None
    plan_name: str | None
    request: str | None
    tools: Sequence[str]
    input: str | None
    run_id: str | None
    model: str | None
    options: str | None
    option: Sequence[str]
    label: Sequence[str]


def run_there(job: Job, place: KafkaPlace, *, json_out: bool) -> int:
    """The exit code says how the run ended (canonical.md §5)."""

    async def begin() -> Begun:
        async with place.engine(job.toolset, job.model) as engine:
            return await _begun(await engine.start(job.what, **job.fields))

    return _followed(place, job.run_id, None if job.what is None else begin, job.max_wait, json_out=json_out)


def publish_command(order: Order, bootstrap: str | None, prefix: str, *, max_wait: float | None, json_out: bool) -> int:
    """``{"runId", "type", "topic"}``; with ``max_wait`` what ``run`` prints. 2 for what no worker could carry out."""
    request, toolset, place = read_order(order), load_tools(order.tools), KafkaPlace(bootstrap or "", prefix)
    run_id = str(request["runId"])

    async def begin() -> Begun:
        async with place.engine(toolset) as engine:
            run = await engine.request(request, wait=max_wait is not None)
            return (run.rejected, None) if max_wait is None else await _begun(run)

    if max_wait is not None:
        return _followed(place, run_id, begin, max_wait, json_out=json_out)
    with place:
        rejected, _ = place.do(begin())
    if rejected is not None:
        _tell(place, rejected, json_out=json_out)
        return REJECTED
    if json_out:
        document({"runId": run_id, "type": request["type"], "topic": place.topics.requests})
    else:
        text(run_id)
        err().print(f"follow it with: dynamicflow watch {run_id}{place.flags}", markup=False)
    return 0


def register_command(
    name: str, plan: str, tools: Sequence[str], bootstrap: str | None, prefix: str, *, json_out: bool
) -> int:
    """``{"name", "planHash", "topic"}``. Raises PlanInvalid, UsageError, BrokerError."""
    start_request(plan=well_formed(name, "NAME"))  # no request could name it otherwise
    given, toolset, place = read_bytes(plan, "the plan"), load_tools(tools), KafkaPlace(bootstrap or "", prefix)

    async def act() -> str | None:
        async with place.engine(toolset) as engine:
            return (await engine.register(name, given)).plan_hash

    with place:
        plan_hash = place.do(act())
    if json_out:
        document({"name": name, "planHash": plan_hash, "topic": place.topics.catalog})
    else:
        text(f"{name}\t{plan_hash}")
    return 0


# --- what is to be published --------------------------------------------------------------------------------------


def read_order(order: Order) -> dict[str, Json]:
    """The request, with a run id. Raises UsageError and, with all that is wrong with it, RequestInvalid."""
    given = [name for name in ("prompt", "plan", "plan_name", "request") if getattr(order, name) is not None]
    if len(given) != 1:
        raise UsageError("USAGE", "name what to publish: exactly one of --prompt, --plan, --plan-name and --request")
    if order.request is not None:
        return _whole(order, order.request)
    if order.plan == "-" and order.input == "@-":
        raise UsageError("USAGE", "standard input can be the plan or the input, not both")
    options = read_options(order.options, order.option)
    return start_request(
        prompt=None if order.prompt is None else prompted(order.prompt),
        plan=order.plan_name if order.plan is None else _plan(order.plan),
        input=None if order.input is None else json_argument(order.input, "--input"),
        run_id=order.run_id if order.run_id is not None else options.workflow_id or str(uuid_utils.uuid7()),
        model=None if order.model is None else well_formed(order.model, "--model"),
        options=options.model_dump(by_alias=True, exclude_defaults=True, mode="json") or None,
        labels=dict(read_labels(order.label)) or None,
    )


def _whole(order: Order, given: str) -> dict[str, Json]:
    beside = [name for name in ("input", "run_id", "model", "options", "option", "label") if getattr(order, name)]
    if beside:
        option = beside[0].replace("_", "-")
        raise UsageError("USAGE", f"--request is a whole request: write into it what --{option} says")
    request = read_request(encode(json_argument(given, "--request")))
    made = request.to_json()
    if isinstance(request, StartRequest) and request.run_id is None:
        made["runId"] = str(uuid_utils.uuid7())
    return {"type": request.type, **made}


def _plan(path: str) -> dict[str, Json]:
    try:
        plan = decode(read_bytes(path, "the plan"))
    except NotJson as error:
        raise UsageError("INVALID_JSON", f"the plan {path} is not JSON: {error}") from error
    if not isinstance(plan, dict):
        raise UsageError("INVALID_JSON", f"the plan {path} is no JSON object")
    return plan


# --- to its end -----------------------------------------------------------------------------------------------------


def _followed(place: KafkaPlace, run_id: str, begin: Begin | None, max_wait: float, *, json_out: bool) -> int:
    """Begin a run, or go on with one, and show it until there is nothing to wait for."""
    view, watch = None if json_out else view_for_people(), None
    with place, _terminated_as_interrupted():
        try:
            record, first = (None, None) if begin is None else place.do(begin())
            if record is None:
                watch = place.watch(run_id, max_wait=max_wait, first=first)
                record = watched(watch, view)
        except KeyboardInterrupt:
            record = _interrupted(place, run_id, watch)
    _tell(place, record, json_out=json_out)
    error = record["error"] or {}
    return INTERRUPTED if error.get("code") == "INTERRUPTED" else exit_code(record["status"], error)


async def _begun(run: KafkaRun) -> Begun:
    if run.rejected is not None:
        return run.rejected, None
    return None, next((one.offset for one in await run.records() if one.kind == b"flow-requested"), None)


def _interrupted(place: KafkaPlace, run_id: str, watch: Watching | None) -> dict[str, Json]:
    if watch is None:
        record = standing_record(new_run(run_id), stamp(SystemClock().now_ms()))
        told = "if its request is in the topic by now, the workers carry it out"
    else:
        record, told = watch.standing(), "the run goes on at the workers"
    record["error"] = run_error("INTERRUPTED", f"{told}; follow it with `dynamicflow watch {run_id}{place.flags}`")
    return record


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM does what SIGINT does."""

    def handle(number: int, frame: FrameType | None) -> None:
        other = signal.getsignal(signal.SIGINT)
        if not callable(other):  # ignored, as in the background of a shell
            raise KeyboardInterrupt
        other(number, frame)

    try:
        before = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(place: KafkaPlace, record: dict[str, Json], *, json_out: bool) -> None:
    if json_out:
        document(record)
    else:
        report(record, flags=place.flags)
