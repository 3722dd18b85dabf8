"""What is asked of runs in a cluster, and what all commands say when they cannot be carried out."""

from __future__ import annotations

import asyncio
import json

import pytest

from dynamicflow.streams.cli.kafka_place import KafkaPlace
from tests.kafka.command_line.kit import Shell


class TestAsking:
    def test_pause_and_resume(self, shell: Shell) -> None:
        shell.publish("gated", "paused", "paused")
        shell.site.at_gate("paused")
        paused = shell("pause", "paused", "--by", "ada", "--json")
        shell.site.open("paused")
        waiting = shell("watch", "paused")
        resumed = shell("resume", "paused")

        assert (paused.code, paused.document["status"]) == (0, "paused")
        assert waiting.code == 3
        assert f"dynamicflow resume paused --bootstrap {shell.site.bootstrap}" in waiting.err
        assert resumed.code == 0
        assert shell("watch", "paused", "--json").document["output"] == {"doubled": 4}

    def test_cancel_a_running_one(self, shell: Shell) -> None:
        shell.publish("gated", "stopped", "stopped")
        shell.site.at_gate("stopped")
        cancelled = shell("cancel", "stopped", "--json")
        shell.site.open("stopped")

        assert (cancelled.code, cancelled.document["status"]) == (0, "cancelled")
        again = shell("cancel", "stopped", "--json")
        assert (again.code, again.document["error"]["code"]) == (2, "RUN_ENDED")

    def test_resolve_a_step_whose_outcome_nobody_knows(self, shell: Shell) -> None:
        shell.publish("paid", "debt", "debt")
        shell.site.at_gate("debt")
        self._lose_the_claim(shell, "debt")
        waiting = shell("watch", "debt")
        other = shell("resolve", "debt", "b", "--fail", "--json")
        settled = shell("resolve", "debt", "pay", "--done", '{"paid": true}', "--by", "ada", "--json")
        shell.site.open("debt")

        assert waiting.code == 3
        assert f"dynamicflow resolve debt pay --bootstrap {shell.site.bootstrap}" in waiting.err
        assert (other.code, other.document["error"]["code"]) == (2, "NOT_UNCERTAIN")
        assert settled.code == 0
        assert shell("watch", "debt", "--json").document["nodes"] == {"pay": {"paid": True}, "b": {"doubled": 4}}
        assert shell("rebuild", "debt", "--verify", "--json").document["problems"] == []

    @staticmethod
    def _lose_the_claim(shell: Shell, run_id: str) -> None:
        """What the owner of the log writes when the executor of a step has not been heard of for a lease."""
        start = next(
            event for event in shell.lines("events", run_id, "--raw", "--json") if event["type"] == "tool-start"
        )
        kept = ("runId", "timestamp", "v", "semantics", "planHash", "nodeId", "attempt", "delivery", "claim")
        lost = {name: start[name] for name in kept if name in start}
        ident = start["id"].replace("tool-start", "tool-lost")
        shell.site.append(run_id, json.dumps({**lost, "id": ident, "type": "tool-lost"}))


class TestWhatGoesWrong:
    COMMANDS = (
        ("show", "x"),
        ("events", "x"),
        ("watch", "x"),
        ("rebuild", "x"),
        ("cancel", "x"),
        ("pause", "x"),
        ("resume", "x"),
        ("resolve", "x", "n", "--retry"),
        ("run", "--run-id", "x"),
    )
    MORE = (
        ("runs",),
        ("run", "--plan", "doubled.json"),
        ("publish", "--prompt", "x"),
        ("register", "n", "doubled.json"),
    )

    @pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
    def test_no_such_run(self, shell: Shell, command: tuple[str, ...]) -> None:
        told = shell(*command, "--json")

        assert (told.code, told.document["error"]["code"], told.err) == (2, "RUN_NOT_FOUND", "")

    def test_a_run_id_that_is_not_utf8(self, shell: Shell) -> None:
        told = shell("watch", "a\udcffb", "--json")

        assert (told.code, told.document["error"]["code"]) == (2, "USAGE")
        assert "'a\\udcffb' is not UTF-8" in told.document["error"]["message"]

    @pytest.mark.parametrize("command", [*COMMANDS, *MORE], ids=" ".join)
    def test_no_broker(self, shell: Shell, command: tuple[str, ...]) -> None:
        told = shell(*command, "--bootstrap", "127.0.0.1:1")

        assert told.code == 4
        assert told.err.startswith("BROKER_UNREACHABLE: kafka at 127.0.0.1:1: Connection refused;")
        assert len(told.err.splitlines()) == 1

    def test_no_topics(self, shell: Shell) -> None:
        for command in (("show", "x"), ("runs",), ("run", "--plan", "doubled.json"), ("cancel", "x")):
            told = shell(*command, "--prefix", f"{shell.site.prefix}none-", "--json")

            assert (told.code, told.document["error"]["code"]) == (4, "TOPICS_MISSING")

    def test_a_journal_named_with_the_cluster(self, shell: Shell) -> None:
        told = shell("show", "x", "--db", "runs.db", "--bootstrap", shell.site.bootstrap, "--json")

        assert (told.code, told.document["error"]["code"]) == (2, "USAGE")
        assert shell("show", "x", "--db", "runs.db", "--json").document["error"]["code"] == "JOURNAL_NOT_FOUND"

    def test_an_interruption_that_asyncio_forgets_is_one(self) -> None:
        async def cancelled() -> None:
            raise asyncio.CancelledError

        with KafkaPlace("127.0.0.1:1", "") as place, pytest.raises(KeyboardInterrupt):
            place.do(cancelled())
