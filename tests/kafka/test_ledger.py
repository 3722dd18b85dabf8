"""What the owner of a partition makes of the facts of its runs, without a broker."""

from __future__ import annotations

from typing import Any

from dynamicflow.planner.check import check_plan
from dynamicflow.streams.core import events as e
from dynamicflow.streams.core.commands import Announce, Command
from dynamicflow.streams.core.events import Event, envelope
from dynamicflow.streams.kafka.ledger import Ledger, Tracked
from dynamicflow.streams.planning import Accepted, published
from tests.engine.engine_kit import call, echo, plan

AT = "2030-01-01T00:00:00.000000Z"


class Log:
    """A partition of which one run is fed, fact by fact."""

    def __init__(self, one: dict[str, Any]) -> None:
        self.ledger, self.offset = Ledger(0), 0
        specs = {"echo": echo.spec}
        self.take(e.FlowRequested, "flow-requested", request={"type": "start", "runId": "r", "input": None, "plan": ""})
        self._append(published("r", Accepted(check_plan(one, tools=specs), specs), AT))

    def take(self, fact: type[Event], ident: str, **fields: Any) -> list[Command]:
        """What follows from a fact."""
        return self._append(fact.model_validate(envelope(f"r/{ident}", "r", AT) | fields))

    def _append(self, fact: Event) -> list[Command]:
        self.offset += 1
        met = self.ledger.receive(fact, self.offset, "")
        if not isinstance(met, Tracked):
            return [] if met is None else [Announce(met)]
        return [command for asked, _, _ in self.ledger.advance(met, {}) for command in asked]

    @property
    def run(self) -> Tracked:
        return self.ledger.runs["r"]


def refusals(asked: list[Command]) -> list[str]:
    events = [command.event for command in asked if isinstance(command, Announce)]
    return [event.code for event in events if isinstance(event, e.ControlRefused)]


class TestWhatIsAskedInVain:
    def test_of_a_run_that_has_ended_and_is_not_marked_yet(self) -> None:
        log = Log(plan({"id": "v", "type": "value", "value": 1}))
        assert log.run.state.end == "completed"
        assert refusals(log.take(e.CancelRequested, "cancel/1", control={"id": "1"})) == ["RUN_ENDED"]

    def test_is_told_once(self) -> None:
        log = Log(plan({"id": "w", "type": "wait", "duration": "2d"}))
        about = {"resolution": "fail", "node_id": "w", "control": {"id": "1"}}
        assert refusals(log.take(e.StepResolved, "resolve/1", **about)) == ["NOT_UNCERTAIN"]
        assert refusals(log.take(e.StepResolved, "resolve/1", **about)) == []

    def test_of_the_same_id_with_other_content_is_counted_as_late(self) -> None:
        log = Log(plan({"id": "w", "type": "wait", "duration": "2d"}))
        other = {"type": "start", "runId": "r", "input": 2, "plan": ""}
        assert refusals(log.take(e.FlowRequested, "flow-requested", request=other)) == ["RUN_EXISTS"]
        log.take(e.PauseRequested, "pause/1", control={"id": "1"})
        assert (log.run.state.late, log.run.state.paused) == (1, True)


class TestTheAnswer:
    def test_to_another_start_under_the_same_id_has_an_id_of_its_own(self) -> None:
        log = Log(plan({"id": "w", "type": "wait", "duration": "2d"}))
        starts = [{"type": "start", "runId": "r", "input": number, "plan": ""} for number in (1, 2, 1)]
        asked = [log.take(e.FlowRequested, "flow-requested", request=start) for start in starts]
        answers = [command.event.id for commands in asked for command in commands if isinstance(command, Announce)]
        assert answers[0] == answers[2] != answers[1]

    def test_names_the_place_of_a_request_in_the_topic(self) -> None:
        log = Log(plan({"id": "v", "type": "value", "value": 1}))
        at = {"topic": "flow-requests", "partition": 0, "offset": 7}
        (refusal,) = log.take(e.CancelRequested, "cancel/1", control={"id": "1", "at": at})
        assert isinstance(refusal, Announce)
        assert refusal.event.id == "r/-/-/-/control-refused/flow-requests.0.7"


class TestALease:
    def test_is_not_ended_by_what_an_earlier_attempt_still_says(self) -> None:
        log = Log(plan(call("a", "echo", retry={"maxAttempts": 3, "initialDelay": 1})))
        error = {"code": "TOOL_EXECUTION_FAILED", "message": "", "retryable": True}
        step = {"node_id": "a", "tool_id": "echo", "inputs_digest": "", "delivery": 1}
        failed = {**step, "error": error, "started_at": AT, "execution_time": 0.0}
        log.take(e.ToolError, "a/1/tool-error", attempt=1, **failed)
        (timer,) = log.run.state.timers
        log.take(e.TimerFired, "a/timer", timer=timer, kind="retry", node_id="a")
        log.take(e.ToolStart, "a/2/tool-start/c", attempt=2, claim="c", lease=AT, **step)
        log.take(e.ToolError, "a/1/tool-error", attempt=1, **failed)

        assert [lease.claim for lease in log.run.leases.values()] == ["c"]


def test_a_fact_that_waits_to_be_folded_is_needed() -> None:
    """Its consequences are worked off in a task of their own, or its run is parked by it."""
    log = Log(plan(call("a", "echo")))
    log.run.snapshotted(log.offset)
    log.ledger.position = log.offset + 1
    times = {"inputs_digest": "", "started_at": AT, "execution_time": 0.0}
    about = {"node_id": "a", "attempt": 1, "delivery": 1, "tool_id": "echo", "output": 1}
    log.ledger.receive(
        e.ToolOutput.model_validate(envelope("r/a/-/1/tool-output", "r", AT) | about | times), log.offset + 1, ""
    )
    log.ledger.position = log.offset + 2
    assert log.ledger.low_water <= log.offset + 1


def test_a_step_that_is_cancelled_is_forgotten() -> None:
    timed = {"id": "t", "type": "parallel", "timeout": 800, "onError": "continue"}
    timed["branches"] = {"x": [call("a", "echo")]}
    log = Log(plan(timed, {"id": "z", "type": "wait", "duration": "1h"}, edges=[{"from": "t", "to": "z"}]))
    assert list(log.run.since) == [("a", ())]
    log.take(e.TimerFired, "timer", node_id="t", timer="timeout/t/-", kind="timeout")
    assert log.run.since == {}
