"""A stage for faults: topics of its own, worker processes that are killed and frozen by pid, a client, observers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from dynamicflow.streams.kafka.admin import create_topics
from dynamicflow.streams.kafka.connection import Connection
from dynamicflow.streams.kafka.topics import Topics
from tests.faults_kafka.claim import Counts, Evidence, Stint, check
from tests.faults_kafka.diary import Diary, monotonic
from tests.faults_kafka.load import Case
from tests.faults_kafka.observer import Observer, Seen
from tests.faults_kafka.worker_process import Order

ROOT: Final = Path(__file__).resolve().parents[2]
UP_S: Final = 40.0
"""How long a worker may take to come up, on a machine that others use as well."""
END_S: Final = 30.0
FAKETIME: Final = next(map(str, Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
"""Debian package libfaketime. Without it Python's ``time.time`` is shifted: ours and aiokafka read no other."""
ALL: Final = ("intake", "planner", "scheduler", "executor")


class Schedule:
    """What was done when: printed with a failure, so that it can be made again."""

    def __init__(self) -> None:
        self.seed: int | None = None
        self._began, self._lines = monotonic(), list[str]()

    def note(self, what: str) -> None:
        self._lines.append(f"  {monotonic() - self._began:7.2f} s  {what}")

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}; the schedule (monotonic 0 is {self._began:.3f}):", *self._lines])


class Seat:
    """A place for a worker: the process that has it now, and those that had it."""

    def __init__(self, name: str, order: Order, schedule: Schedule) -> None:
        self.name, self.order, self._schedule = name, order, schedule
        self.process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._frozen: list[tuple[float, float]] = []
        self._stints: list[Stint] = []
        self.log = Path(order.folder) / f"{name}.log"

    def start(self) -> Self:
        """A process takes the place. Nothing if one has it."""
        if self.process is not None:
            return self
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults_kafka.worker_process", self.order.encode()],
                cwd=self.order.folder,
                env=environment | self._clock() | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._began, self._frozen = monotonic(), []
        self._schedule.note(f"start {self.name}, pid {self.process.pid}")
        return self

    def _clock(self) -> dict[str, str]:
        """What makes its own clock wrong, the interpreter's as well, where libfaketime is there."""
        hours = self.order.hours_ahead
        if not hours or FAKETIME is None:
            return {}
        return {"LD_PRELOAD": FAKETIME, "FAKETIME": f"{hours:+}h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} has no process"
        return self.process.pid

    def kill(self) -> Self:
        """SIGKILL, as by the machine's end."""
        self._signal(signal.SIGKILL)
        return self._gone(monotonic(), self._end())

    def freeze(self) -> Self:
        """SIGSTOP: it holds everything and does nothing."""
        self._signal(signal.SIGSTOP)
        self._frozen.append((monotonic(), float("inf")))
        return self

    def thaw(self) -> Self:
        """SIGCONT."""
        self._frozen[-1] = (self._frozen[-1][0], monotonic())
        self._signal(signal.SIGCONT)
        return self

    def ask_to_leave(self) -> Self:
        """SIGTERM, as by a rolling restart."""
        self._signal(signal.SIGTERM)
        return self

    def left(self) -> bool:
        """Has it left since it was asked to? Its place is then free."""
        if self.process is None:
            return True
        code = self.process.poll()
        if code is not None:
            assert code == 0, f"{self.name} ended with {code}:\n{self.tail()}"
            self._gone(None, code)
        return code is not None

    def restart_if_dead(self) -> bool:
        """As a supervisor does: a process that ended by itself is started again."""
        if self.process is None or self.process.poll() is None:
            return False
        self._gone(monotonic(), self.process.returncode)
        self.start()
        return True

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(END_S)

    def stood_still(self, since: float, until: float) -> None:
        """It was not frozen from here, but by what it ran."""
        self._frozen.append((since, until))

    def set_forward(self, hours: float) -> None:
        """For its next process the brokers' clock shows so many hours more."""
        self.order = replace(self.order, broker_hours_ahead=hours)

    def stints(self) -> list[Stint]:
        if self.process is None:
            return self._stints
        return [*self._stints, Stint(self.pid, self.name, self._began, None, tuple(self._frozen))]

    def tail(self, size: int = 3000) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-size:]

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"{self.name} has no process"
        self._schedule.note(f"{number.name} {self.name}, pid {self.process.pid}")
        self.process.send_signal(number)

    def _end(self) -> int:
        assert self.process is not None
        return self.process.wait(END_S)

    def _gone(self, died: float | None, code: int) -> Self:
        self._stints.append(Stint(self.pid, self.name, self._began, died, tuple(self._frozen)))
        self._schedule.note(f"{self.name}, pid {self.pid}, has ended: {code}")
        self.process = None
        return self


class Stage:
    """Everything of one schedule: ``open`` it, ``close`` it."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.bootstrap, self.prefix, self.folder = bootstrap, prefix, folder
        self.topics = Topics(prefix)
        self.schedule = Schedule()
        self.diary = Diary(folder / "diary")
        self.seats: list[Seat] = []
        self.cases: list[Case] = []
        self.told: list[str] = []
        """For people: counts, and how long what took."""
        self._ends = AsyncExitStack()

    async def open(self, *, partitions: int = 4, replication: int = 1) -> Self:
        """Topics are there and observed."""
        self._partitions = partitions
        specs = self.topics.specs(partitions, replication=replication)
        await create_topics(Connection(self.bootstrap), specs, within_s=40)
        log, complete = (
            Observer(self.bootstrap, name, partitions) for name in (self.topics.events, self.topics.complete)
        )
        self.log = await self._ends.enter_async_context(log)
        self.complete = await self._ends.enter_async_context(complete)
        self._producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all")
        await self._producer.start()
        self._ends.push_async_callback(self._producer.stop)
        self.work = Observer(self.bootstrap, self.topics.node_ready(), partitions)
        self.snapshots = Observer(self.bootstrap, self.topics.snapshots, partitions)
        return self

    async def dump(self) -> None:
        """The log and the work as text, beside the diary and the logs of the workers: to be read after a failure."""
        async with (
            Observer(self.bootstrap, self.topics.node_ready(), self._partitions) as work,
            Observer(self.bootstrap, self.topics.plan_ready, self._partitions) as plans,
        ):
            await work.whole()
            await plans.whole()
            for name, records in (("events", self.log.records), ("work", work.records), ("plans", plans.records)):
                wall = time.time() - monotonic()
                lines = [
                    f"{one.at - wall:.3f} {one.partition}:{one.offset} {one.kind} {one.value!r}" for one in records
                ]
                (self.folder / name).write_text("\n".join(lines), encoding="utf-8")

    async def close(self) -> None:
        """No process is left."""
        for seat in self.seats:
            seat.close()
        await self._ends.aclose()
        self.diary.close()

    # --- workers ----------------------------------------------------------------------------------------------------

    def seat(self, name: str, *roles: str, **settings: Any) -> Seat:
        """A worker process, starting."""
        order = {key: settings.pop(key) for key in ("hours_ahead", "broker_hours_ahead") if key in settings}
        made = Order(self.bootstrap, self.prefix, str(self.folder), roles or ALL, settings, **order)
        seat = Seat(name, made, self.schedule)
        self.seats.append(seat)
        return seat.start()

    async def up(self, *seats: Seat) -> None:
        """They have joined their groups."""
        for seat in seats or self.seats:
            sign = f" {seat.pid} INFO root up: ".encode()
            await until(lambda seat=seat, sign=sign: sign in seat.log.read_bytes(), f"{seat.name} is up", UP_S)  # type: ignore[misc]

    def supervise(self) -> None:
        """Start again what ended by itself."""
        for seat in self.seats:
            seat.restart_if_dead()

    # --- a client -----------------------------------------------------------------------------------------------------

    async def publish(self, cases: Iterable[Case], *, over: float = 0.0) -> list[Case]:
        """Requests are acknowledged, spread over some seconds."""
        asked = list(cases)
        self.cases += asked
        sent = []
        for case in asked:
            sent.append(asyncio.ensure_future(self._ask(case)))
            await asyncio.sleep(over / len(asked))
        await asyncio.gather(*sent)
        return asked

    async def _ask(self, case: Case) -> None:
        """As a client does that gives a run id: again and again until it is taken."""
        value = json.dumps(case.request).encode()
        while True:
            try:
                await self._producer.send_and_wait(self.topics.requests, value, key=case.run_id.encode())
            except KafkaError:
                await asyncio.sleep(0.5)
            else:
                return

    async def send(self, value: bytes | None, *, key: bytes | None = None, timestamp_ms: int | None = None) -> Any:
        """A request as it is; where it stands once it is acknowledged."""
        return await self._producer.send_and_wait(self.topics.requests, value, key=key, timestamp_ms=timestamp_ms)

    async def held(self, count: int, within: float = 15.0) -> None:
        """So many steps are held."""

        def claims() -> bool:
            starts = of_kind(self.log.records, "tool-start")
            return len({json.loads(one.value or b"{}")["claim"] for one in starts}) >= count

        await until(claims, f"{count} steps are held", within)

    async def results(self, cases: Sequence[Case], within: float) -> float:
        """Each of them has a result, and the end of each is in its log; how many seconds that took."""
        began = monotonic()
        missing = {case.run_id for case in cases}

        def ended() -> bool:
            self.supervise()
            done = {one.run_id for one in self.complete.records}
            told = {one.run_id for one in self.log.records if one.kind == "flow-complete"}
            return missing <= done & told

        try:
            await until(ended, f"{len(missing)} runs have results", within)
        except AssertionError as error:
            done = {one.run_id for one in self.complete.records}
            for run_id in sorted(missing - done)[:5]:
                kinds = [f"{one.kind}@{one.partition}:{one.offset}" for one in self.log.records if one.run_id == run_id]
                error.add_note(f"{run_id} has no result; its log: {' '.join(kinds) or 'nothing'}")
            error.add_note(
                f"{len(missing - done)} of {len(missing)} runs have no result; the workers' tasks: their logs"
            )
            await self._tell_stacks()
            raise
        return monotonic() - began

    async def _tell_stacks(self) -> None:
        for seat in self.seats:
            if seat.process is not None and seat.process.poll() is None:
                seat.process.send_signal(signal.SIGUSR2)
        await asyncio.sleep(1)  # it is for people; nothing depends on it

    # --- the claim ----------------------------------------------------------------------------------------------------

    async def evidence(self) -> Evidence:
        """What is in the topics and the diary now."""
        log, complete = await self.log.whole(), await self.complete.whole()
        stints = [stint for seat in self.seats for stint in seat.stints()]
        return Evidence(self.cases, log, complete, self.diary.calls(), stints, time.time() - monotonic())

    async def check(self) -> Counts:
        """The claim holds; what was counted is told."""
        counts = check(await self.evidence())
        self.tell(f"seed {self.schedule.seed}: {counts}")
        return counts

    def tell(self, text: str) -> None:
        self.told.append(text)
        self.schedule.note(text)


async def until(holds: Callable[[], Any], what: str, within: float, every: float = 0.05) -> Any:
    """Look again and again until it is so. Raises AssertionError."""
    ends = monotonic() + within
    while not (value := holds()):
        assert monotonic() < ends, f"not within {within} s: {what}"
        await asyncio.sleep(every)
    return value


async def until_async(holds: Callable[[], Awaitable[Any]], what: str, within: float, every: float = 0.05) -> Any:
    """The same for what has to be asked for."""
    ends = monotonic() + within
    while not (value := await holds()):
        assert monotonic() < ends, f"not within {within} s: {what}"
        await asyncio.sleep(every)
    return value


def of_kind(records: Iterable[Seen], *kinds: str) -> list[Seen]:
    return [record for record in records if record.kind in kinds]
