"""``dynamicflow run``: drive one run in this process, or hand it to the process that drives the file."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import uuid_utils

from ...errors import JournalError, UsageError
from ...planner.options import Options
from ...values import Json, NotJson, decode
from ..core.result import run_error
from ..core.state import ENDED
from ..embedded.engine import Engine
from ..embedded.inbox import await_reply, post
from ..embedded.owner import Owner, owner_of
from ..embedded.run import Run
from .defaults import DB
from .errors import INTERRUPTED, exit_code
from .following import Follower, Watch, go_on, no_run, standing
from .inputs import Toolset, json_argument, load_tools, prompted, read_bytes, read_labels, read_options, well_formed
from .journal_place import raise_answer
from .output import document, err
from .places import Where
from .report import report
from .view import View, view_for_people

_LOOK_S: Final = 0.1
_PATIENCE: Final = 15
"""Seconds an owner may take to accept a start; it looks into its inbox every 50 ms."""
_INTRODUCTION: Final = 40
"""How often one looks, every 50 ms, who an owner is that has only just begun."""


@dataclass(frozen=True, slots=True)
class Request:
    """The command line as given."""

    prompt: str | None
    plan: str | None
    tools: Sequence[str]
    input: str | None
    where: Where
    run_id: str | None
    model: str | None
    options: str | None
    option: Sequence[str]
    label: Sequence[str]
    max_wait: float


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be run, read and ready. ``what`` is a prompt, the bytes of a plan, or None: go on with ``run_id``."""

    what: str | bytes | None
    input: Json
    toolset: Toolset
    db: str | None
    run_id: str
    model: str | None
    options: Options
    labels: dict[str, str]
    max_wait: float

    def engine(self) -> Engine:
        """Drives this run only, whatever else the file holds."""
        settings: dict[str, Any] = {"tools": self.toolset.tools, "joins": self.toolset.joins, "model": self.model}
        if self.db is None:
            return Engine.in_memory(**settings, drain_s=2.0)
        return Engine.open(self.db, resume=[self.run_id] if self.what is None else False, **settings)

    async def begin(self, engine: Engine) -> Run:
        """Durable on return."""
        return engine.run(self.run_id) if self.what is None else await engine.start(self.what, **self.fields)

    @property
    def fields(self) -> dict[str, Any]:
        """What an engine is told beside ``what``."""
        return {
            "input": self.input,
            "run_id": self.run_id,
            "options": self.options,
            "labels": self.labels,
            "model": self.model,
        }

    def command(self) -> dict[str, Json]:
        """The same as a request to the process that drives the file. Raises UsageError for a plan that is not JSON."""
        if self.what is None:
            return {"type": "drive", "runId": self.run_id}
        made: dict[str, Json] = {"type": "start", "runId": self.run_id, "input": self.input, "labels": self.labels}
        if isinstance(self.what, bytes):
            try:
                made["plan"] = decode(self.what)
            except NotJson as error:
                raise UsageError("INVALID_JSON", f"the plan is not JSON: {error}") from error
        else:
            made |= {"prompt": self.what, "model": self.model}
        made["options"] = self.options.model_dump(by_alias=True, exclude_defaults=True, mode="json")
        return made


def read_request(asked: Request) -> Job:
    """Everything the command line names, read. Raises UsageError."""
    if asked.prompt is not None and asked.plan is not None:
        raise UsageError("USAGE", "name either --prompt or --plan, not both")
    what: str | bytes | None = asked.prompt
    if asked.plan is not None:
        what = read_bytes(asked.plan, "the plan")
    if what is None and asked.run_id is None:
        raise UsageError("USAGE", "name what to run: --prompt TEXT or --plan FILE (or --run-id, to go on with a run)")
    if isinstance(what, str):
        prompted(what)
    if asked.plan == "-" and asked.input == "@-":
        raise UsageError("USAGE", "standard input can be the plan or the input, not both")
    options = read_options(asked.options, asked.option)
    if asked.run_id == "":  # an unset shell variable, most likely: the run would be another one every time
        raise UsageError("INVALID_RUN_ID", "--run-id is empty; give it a name, or leave the option out")
    run_id = asked.run_id or options.workflow_id
    db = asked.where.db
    if db is None and run_id is not None and asked.where.bootstrap is None:
        db = DB
    return Job(
        what=what,
        input=None if asked.input is None else json_argument(asked.input, "--input"),
        toolset=load_tools(asked.tools),
        db=db,
        run_id=run_id or str(uuid_utils.uuid7()),
        model=None if asked.model is None else well_formed(asked.model, "--model"),
        options=options,
        labels=read_labels(asked.label),
        max_wait=asked.max_wait,
    )


def run_command(asked: Request, *, json_out: bool) -> int:
    """The exit code says how the run ended (canonical.md §5)."""
    job = read_request(asked)
    if asked.where.bootstrap is not None:
        from .kafka_place import KafkaPlace
        from .publishing import run_there

        return run_there(job, KafkaPlace(asked.where.bootstrap, asked.where.prefix), json_out=json_out)
    if job.what is None and not os.path.exists(job.db or ""):
        raise no_run(job.db or DB, job.run_id)
    record = asyncio.run(_carried_out(job, None if json_out else view_for_people()))
    if json_out:
        document(record)
    else:
        report(record, flags=job.db and f" --db {job.db}")
    error = record["error"] or {}
    if error.get("code") == "INTERRUPTED":
        return INTERRUPTED
    return 3 if error.get("code") == "NOT_DRIVEN" else exit_code(record["status"], error)


async def _carried_out(job: Job, view: View | None) -> dict[str, Json]:
    stop = asyncio.Event()
    with _stopping(stop, quiet=view is None), _shown(view):
        while True:
            try:
                async with job.engine() as engine:
                    run = await job.begin(engine)
                    return await _driven(engine, run, job, view, stop)
            except JournalError as error:
                if error.code != "JOURNAL_OWNED" or job.db is None:
                    raise
                record = await _handed_over(job, job.db, error, view, stop)
            if record is not None:
                return record  # else the owner went away before the run had ended: it is this process's turn


@contextmanager
def _shown(view: View | None) -> Iterator[None]:
    try:
        yield
    finally:
        if view is not None:
            view.close()


@contextmanager
def _stopping(stop: asyncio.Event, *, quiet: bool) -> Iterator[None]:
    """SIGINT and SIGTERM set ``stop``; the second one leaves at once: what is not recorded will be asked for again."""
    loop = asyncio.get_running_loop()

    def asked(number: int) -> None:
        if stop.is_set():
            os._exit(INTERRUPTED)
        stop.set()
        if not quiet:
            err().print("\ninterrupted; waiting for what runs to be recorded (once more: leave at once)", markup=False)

    caught = []
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, asked, number)
            caught.append(number)
        except (NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
            break
    try:
        yield
    finally:
        for number in caught:
            loop.remove_signal_handler(number)


async def _driven(engine: Engine, run: Run, job: Job, view: View | None, stop: asyncio.Event) -> dict[str, Json]:
    """The run's record when it has ended or needs somebody, or when the person has had enough."""
    follower = Follower(engine.journal, run.id)
    result = asyncio.ensure_future(run.result(max_wait=job.max_wait))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while True:
            waited = {result, stopped}
            done, _ = await asyncio.wait(waited, timeout=_LOOK_S if view else None, return_when="FIRST_COMPLETED")
            if view is not None and run.rejected is None:
                view.show(follower.more(), follower.state)
            if result in done:
                return await _last_look(result.result(), follower, run, view)
            if stopped in done:
                follower.more()
                return _interrupted(follower, job)
    finally:
        result.cancel()
        stopped.cancel()


async def _last_look(record: dict[str, Json], follower: Follower, run: Run, view: View | None) -> dict[str, Json]:
    """The announcements that follow the last fact are written a moment after it."""
    loop = asyncio.get_running_loop()
    until = loop.time() + 1.0
    while view is not None and run.rejected is None and record["status"] in ENDED:
        view.show(follower.more(), follower.state)
        if follower.completed or loop.time() > until:
            break
        await asyncio.sleep(0.01)
    return record


def _interrupted(follower: Follower, job: Job) -> dict[str, Json]:
    record = standing(follower)
    if job.db is None:
        told = "it ran in memory and is gone; with --db FILE --run-id ID the same command goes on with it"
    else:
        told = go_on(job.db, job.run_id)
    record["error"] = run_error("INTERRUPTED", told)
    return record


async def _handed_over(
    job: Job, db: str, refused: JournalError, view: View | None, stop: asyncio.Event
) -> dict[str, Json] | None:
    """Ask the process that drives the file, and follow the run by reading; None when that process has gone.

    Raises what the owner refused it for, and ``refused`` when the owner lacks the tools.
    """
    owner = await _known_owner(db)
    if owner is None:
        return None
    lacking = [name for name, spec in job.toolset.registry.specs.items() if owner.tools.get(name) != spec.digest]
    if lacking:
        message = f"{refused.message}. It cannot run this: it lacks {', '.join(lacking)}, or has other versions"
        raise JournalError(refused.code, message)
    answer = await asyncio.to_thread(_asked, db, job.command())
    if answer is None:
        return None
    if answer.get("result") is not None:
        rejected: dict[str, Json] = answer["result"]
        return rejected
    with Watch(db, job.run_id, max_wait=job.max_wait) as watch:
        record = await _watched(watch, view, stop, job)
    return None if (record["error"] or {}).get("code") == "NOT_DRIVEN" else record


async def _known_owner(db: str) -> Owner | None:
    """Who drives the file, once it has said so; None when nobody does any more."""
    for _ in range(_INTRODUCTION):
        owner = await asyncio.to_thread(owner_of, db)
        if owner is None or owner.pid:
            return owner
        await asyncio.sleep(0.05)
    return Owner()


async def _watched(watch: Watch, view: View | None, stop: asyncio.Event, job: Job) -> dict[str, Json]:
    while True:
        seen = watch.follower.more()
        if view is not None:
            view.show(seen, watch.follower.state)
        record = watch.halted()
        if record is not None:
            return record
        if stop.is_set():
            return _interrupted(watch.follower, job)
        await asyncio.to_thread(watch.wait, 0.25)


def _asked(db: str, command: dict[str, Json]) -> dict[str, Json] | None:
    """The owner's answer; None when it has gone without one. Raises what it refused the command for."""
    posted = post(db, command)
    for _ in range(_PATIENCE):
        answer = await_reply(db, posted, 1.0)
        if answer is not None:
            raise_answer(answer)
            return answer
        if owner_of(db) is None:
            return None
    message = f"the process that drives {db} does not answer; the request waits in its inbox, and is done when it does"
    raise JournalError("JOURNAL_BUSY", message)
