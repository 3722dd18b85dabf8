"""``run``, ``publish`` and ``register`` in a cluster: what comes of them, documents and exit codes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.cli.command_line import ended
from tests.kafka.command_line.kit import Shell


class TestRun:
    def test_a_plan(self, shell: Shell) -> None:
        ran = shell("run", "--plan", "doubled.json", "-i", '{"n": 21}', "--run-id", "answer", "--json")

        assert (ran.code, ran.err) == (0, "")
        assert ran.document["output"] == {"doubled": 42}
        assert ran.document == shell("show", "answer", "--json").document

    def test_for_people_there_is_a_line_for_every_step(self, shell: Shell) -> None:
        ran = shell("run", "--plan", "doubled.json", "-i", '{"n": 1}', "--run-id", "people")

        assert json.loads(ran.out) == {"doubled": 2}
        assert ran.err.splitlines()[0] == "Doubling"
        assert "✓ a  double" in ran.err
        assert "completed  people  1 step" in ran.err

    def test_a_prompt(self, shell: Shell) -> None:
        ran = shell("run", "--prompt", "Double the number.", "-i", '{"number": 4}', "--json")

        assert (ran.code, ran.document["output"]) == (0, {"doubled": 8})

    def test_the_same_again_is_the_same_run(self, shell: Shell) -> None:
        first = shell.run("doubled", {"n": 3}, "twice")

        assert shell.run("doubled", {"n": 3}, "twice") == first
        assert shell("run", "--run-id", "twice", "--json").document == first

    def test_other_content_under_the_id_is_refused(self, shell: Shell) -> None:
        shell.run("doubled", {"n": 3}, "taken")
        for command in (("run",), ("publish", "--wait")):
            other = shell(*command, "--plan", "doubled.json", "-i", '{"n": 4}', "--run-id", "taken", "--json")

            assert (other.code, other.document["error"]["code"]) == (2, "RUN_EXISTS")

    def test_a_failed_one(self, shell: Shell) -> None:
        ran = shell("run", "--plan", "boom.json", "--json")

        assert (ran.code, ran.document["status"], ran.document["error"]["nodeId"]) == (1, "failed", "x")

    @pytest.mark.parametrize("command", [("run",), ("publish",), ("publish", "--wait")], ids=" ".join)
    def test_what_cannot_run_is_rejected_and_leaves_the_id_free(self, shell: Shell, command: tuple[str, ...]) -> None:
        run_id = f"typo-{'-'.join(command)}".replace("--", "")
        Path("unknown.json").write_text(
            Path("doubled.json").read_text("utf-8").replace('"double"', '"dubble"'), "utf-8"
        )
        start = (*command, "--run-id", run_id, "-i")
        plan_invalid = shell(*start, '{"n": 1}', "--plan", "unknown.json", "--json")
        input_invalid = shell(*start, "{}", "--plan", "doubled.json", "--json")

        told = [
            (one.code, one.document["status"], one.document["error"]["code"]) for one in (plan_invalid, input_invalid)
        ]
        assert told == [(2, "rejected", "PLAN_INVALID"), (2, "rejected", "INPUT_INVALID")]
        assert "double" in plan_invalid.document["error"]["details"]["problems"][0]["suggestion"]
        assert shell.run("doubled", {"n": 1}, run_id)["status"] == "completed"

    def test_a_wait_that_is_too_long(self, shell: Shell) -> None:
        ran = shell("run", "--plan", "waiting.json", "--run-id", "long", "--max-wait", "1", "--json")
        cancelled = shell("cancel", "long", "--reason", "no need", "--by", "ada", "--json")

        assert (ran.code, ran.document["status"]) == (3, "suspended")
        assert (cancelled.code, cancelled.document["error"]["message"]) == (0, "no need")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_interrupted_it_goes_on_without_this_process(self, shell: Shell, number: signal.Signals) -> None:
        name = number.name.lower()
        running = shell.process("run", "--plan", "gated.json", "-i", f'"{name}"', "--run-id", name)
        assert running.stderr is not None
        assert running.stderr.readline() == "Gated\n"
        running.send_signal(number)
        stopped = ended(running)
        shell.site.open(name)

        assert (stopped.code, stopped.out) == (130, ""), stopped.err
        assert "INTERRUPTED: the run goes on at the workers; follow it with `dynamicflow watch" in stopped.err
        assert shell("watch", name, "--json").document["status"] == "completed"

    def test_interrupted_for_programs(self, shell: Shell) -> None:
        running = shell.process("run", "--plan", "gated.json", "-i", '"program"', "--run-id", "program", "--json")
        shell.site.at_gate("program")
        running.send_signal(signal.SIGINT)
        stopped = ended(running)
        shell.site.open("program")

        assert (stopped.code, stopped.err, stopped.document["error"]["code"]) == (130, "", "INTERRUPTED")

    def test_where_no_worker_is(self, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("dynamicflow.streams.kafka.engine.ACCEPT_S", 0.2)
        alone = ("--bootstrap", shell.site.bootstrap, "--prefix", f"{shell.site.prefix}alone-")
        shell("topics", "create", "--partitions", "1", *alone)
        Path("value.json").write_text(
            '{"version": "1.0", "nodes": [{"id": "v", "type": "value", "value": 1}]}', "utf-8"
        )

        ran = shell("run", "--plan", "value.json", *alone, "--json")

        assert (ran.code, ran.document["error"]["code"]) == (4, "NO_WORKER")
        assert shell("runs", *alone, "--json").document == {"runs": []}
        assert shell("runs", *alone).err.startswith("no runs in kafka at")


class TestPublish:
    def test_prints_the_run_id_and_does_not_wait(self, shell: Shell) -> None:
        shell.publish("gated", "p", "p")
        shell.site.at_gate("p")
        shown = shell("show", "p", "--json")
        shell.site.open("p")

        assert (shown.code, shown.document["status"]) == (3, "running")
        assert shell.site.kcat.wait_for(shell.site.topics.complete, "p")["p"]["output"] == {"doubled": 4}

    def test_for_programs(self, shell: Shell) -> None:
        told = shell("publish", "--plan", "doubled.json", "-i", '{"n": 1}', "--label", "tenant=acme", "--json").document

        assert (told["type"], told["topic"]) == ("start", shell.site.topics.requests)
        assert shell.site.kcat.wait_for(shell.site.topics.complete, told["runId"])

    def test_what_lies_in_the_topic_is_what_was_said(self, shell: Shell) -> None:
        asked = ("-i", '{"n": 1}', "-o", "timeout=5m", "--label", "tenant=acme", "--run-id", "said")
        shell("publish", "--prompt", "Double the number.", "--model", "offline", *asked)

        written = dict(shell.site.kcat.read(shell.site.topics.requests))["said"]
        assert json.loads(written) == {
            "type": "start",
            "runId": "said",
            "prompt": "Double the number.",
            "input": {"n": 1},
            "model": "offline",
            "options": {"timeout": 300_000},
            "labels": {"tenant": "acme"},
        }

    def test_waiting_is_run(self, shell: Shell) -> None:
        told = shell("publish", "--plan", "doubled.json", "-i", '{"n": 5}', "--wait", "--json")

        assert (told.code, told.document["output"]) == (0, {"doubled": 10})

    def test_a_whole_request_as_it_is(self, shell: Shell) -> None:
        Path("start.json").write_text(
            json.dumps({"plan": json.loads(Path("waiting.json").read_text("utf-8"))}), "utf-8"
        )
        run_id = shell("publish", "--request", "@start.json").out.strip()
        shell.site.kcat.wait_for(shell.site.topics.events, run_id)
        asked = shell("publish", "--request", json.dumps({"type": "cancel", "runId": run_id, "by": "ada"}), "--wait")

        assert (asked.code, shell("show", run_id, "--json").document["status"]) == (1, "cancelled")

    def test_a_registered_plan_by_its_name(self, shell: Shell) -> None:
        made = shell("register", "doubling", "doubled.json", "--json")
        told = shell("publish", "--plan-name", "doubling", "-i", '{"n": 8}', "--wait", "--json")
        unknown = shell("publish", "--plan-name", "doublin", "--json")

        assert (made.code, made.document["name"]) == (0, "doubling")
        assert told.document["metadata"]["planHash"] == made.document["planHash"]
        assert unknown.document["error"]["details"]["problems"][0]["context"]["availableOptions"] == ["doubling"]

    def test_a_plan_with_problems_is_not_registered(self, shell: Shell) -> None:
        Path("bad.json").write_text('{"version": "1.0", "nodes": [{"id": "a", "type": "tool"}]}', "utf-8")

        assert shell("register", "bad", "bad.json", "--json").document["error"]["code"] == "PLAN_INVALID"
        assert shell("register", "", "doubled.json", "--json").code == 2

    @pytest.mark.parametrize(
        ("argv", "code"),
        [
            ((), "USAGE"),
            (("--prompt", "x", "--plan", "doubled.json"), "USAGE"),
            (("--request", '{"prompt": "x"}', "-i", "1"), "USAGE"),
            (("--request", "{"), "INVALID_JSON"),
            (("--request", "[]"), "REQUEST_INVALID"),
            (("--request", '{"promt": "x"}'), "REQUEST_INVALID"),
            (("--request", '{"type": "stop"}'), "UNKNOWN_REQUEST_TYPE"),
            (("--request", '{"type": "cancel"}'), "REQUEST_INVALID"),
            (("--request", '{"type": "approve", "runId": "r", "nodeId": "n"}'), "NOT_SUPPORTED_YET"),
            (("--request", "@none.json"), "FILE_UNREADABLE"),
            (("--plan", "none.json"), "FILE_UNREADABLE"),
            (("--plan", "tools.py"), "INVALID_JSON"),
            (("--prompt", "x", "--run-id", "a/b"), "INVALID_RUN_ID"),
            (("--prompt", "x", "--run-id", ""), "INVALID_RUN_ID"),
            (("--prompt", "x" * 1_100_000), "REQUEST_TOO_LARGE"),
            (("--prompt", " "), "USAGE"),
        ],
    )
    def test_what_no_worker_could_take_is_told_before(self, shell: Shell, argv: tuple[str, ...], code: str) -> None:
        told = shell("publish", *argv, "--json")

        assert (told.code, told.document["error"]["code"]) == (2, code)
