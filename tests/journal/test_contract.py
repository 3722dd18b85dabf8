"""What every journal promises, whatever it is kept in."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dynamicflow.errors import JournalError, UsageError
from dynamicflow.streams.embedded.journal import Committed, RunTaken, RunUnknown, Write
from tests.journal.journal_kit import WAIT_S, Listener, Place, begin, bodies, row, store

BIG = b'"' + b"x" * 300_000 + b'"'
SHA = hashlib.sha256(BIG).hexdigest()


class TestWhatIsSubmittedIsReportedOnceDurable:
    def test_in_the_order_of_submission_with_its_token(self, place: Place, heard: Listener) -> None:
        journal = place.open(heard)
        journal.submit([begin("a", token=0)])
        journal.submit([begin("b", token=1), Write("a", [b"second"], token=2)])
        journal.flush(WAIT_S)
        assert [done.write.token for done in heard.committed] == [0, 1, 2]
        assert heard.errors == [None] * 3

    def test_positions_grow_over_the_whole_log_and_records_of_a_write_stand_together(
        self, place: Place, heard: Listener
    ) -> None:
        journal = place.open(heard)
        store(journal, begin("a", b"0", b"1"), begin("b", b"2"), Write("a", [b"3", b"4"]))
        assert [done.position for done in heard.committed] == [1, 3, 4]
        assert list(journal.read("a")) == [(1, b"0"), (2, b"1"), (4, b"3"), (5, b"4")]

    def test_positions_go_on_after_opening_again(self, place: Place) -> None:
        store(place.open(), begin("a", b"0", b"1"))
        place.close()
        journal = place.open()
        store(journal, Write("a", [b"2"]))
        assert list(journal.read("a")) == [(1, b"0"), (2, b"1"), (3, b"2")]

    def test_it_can_be_read_when_it_is_reported(self, place: Place) -> None:
        seen: list[list[bytes]] = []
        journal = place.open()

        def look(committed: list[Committed]) -> None:
            seen.extend(bodies(journal, done.write.run_id) for done in committed)

        place.close()
        listener = Listener()
        listener.on_durable = look  # type: ignore[method-assign]
        journal = place.open(listener)
        store(journal, begin("a", b"0"))
        assert seen == [[b"0"]]

    def test_a_callback_may_submit(self, place: Place) -> None:
        listener, ended = Listener(), threading.Event()

        def go_on(committed: list[Committed]) -> None:
            for done in committed:
                left = int(str(done.write.token))
                if left:
                    journal.submit([Write("a", [str(left).encode()], token=left - 1)])
                else:
                    ended.set()

        listener.on_durable = go_on  # type: ignore[method-assign]
        journal = place.open(listener)
        journal.submit([begin("a", token=3)])
        assert ended.wait(WAIT_S)
        assert bodies(journal, "a") == [b"first", b"3", b"2", b"1"]

    def test_several_threads_lose_nothing_and_keep_their_own_order(self, place: Place) -> None:
        journal = place.open()
        store(journal, *(begin(f"r{n}", b"0") for n in range(4)))

        def append(run_id: str) -> None:
            for n in range(1, 200):
                journal.submit([Write(run_id, [str(n).encode()])])

        threads = [threading.Thread(target=append, args=(f"r{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        journal.flush(WAIT_S)
        assert all(bodies(journal, f"r{n}") == [str(k).encode() for k in range(200)] for n in range(4))

    def test_closing_commits_all_that_was_submitted(self, place: Place, heard: Listener) -> None:
        journal = place.open(heard)
        journal.submit([begin("a"), *(Write("a", [b"%d" % n]) for n in range(5_000))])
        journal.close(WAIT_S)
        assert len(heard.committed) == 5_001
        assert place.open().count("a") == 5_001


class TestAWriteIsAllOrNothing:
    def test_a_run_that_exists_is_not_created_again_and_the_rest_of_the_batch_is_kept(
        self, place: Place, heard: Listener
    ) -> None:
        journal = place.open(heard)
        store(journal, begin("a", b"0"))
        store(journal, begin("b", b"1"), begin("a", b"no", values={SHA: BIG}, consumed=1), begin("c", b"2"))
        assert heard.errors == [None, None, RunTaken(row("a")), None]
        assert [bodies(journal, name) for name in "abc"] == [[b"0"], [b"1"], [b"2"]]
        with pytest.raises(JournalError, match="lacks the value"):
            journal.load([SHA])

    def test_the_first_of_two_in_one_batch_creates(self, place: Place, heard: Listener) -> None:
        journal = place.open(heard)
        taken = row("a", request_digest="sha256:first")
        store(journal, Write("a", [b"0"], run=taken, create=True), begin("a", b"no"), Write("a", [b"1"]))
        assert heard.errors == [None, RunTaken(taken), None]
        assert bodies(journal, "a") == [b"0", b"1"]

    def test_a_run_created_before_the_journal_was_opened_again_is_taken(self, place: Place, heard: Listener) -> None:
        store(place.open(), begin("a", b"0"))
        place.close()
        journal = place.open(heard)
        store(journal, begin("a", b"no"))
        assert heard.errors == [RunTaken(row("a"))]

    def test_records_of_a_run_that_was_never_created_are_refused(self, place: Place, heard: Listener) -> None:
        journal = place.open(heard)
        store(journal, Write("ghost", [b"0"], values={SHA: BIG}), begin("a"))
        assert heard.errors == [RunUnknown("ghost"), None]
        assert (journal.run("ghost"), journal.count("ghost"), list(journal.read("ghost"))) == (None, 0, [])

    def test_a_row_alone_changes_the_index_and_adds_no_record(self, place: Place, heard: Listener) -> None:
        journal = place.open(heard)
        store(journal, begin("a"), Write("a", run=row("a", "completed", completed_at="2024")))
        assert (journal.count("a"), heard.committed[1].position) == (1, 0)
        assert journal.run("a") == row("a", "completed", completed_at="2024")


class TestReading:
    def test_after_a_position(self, place: Place) -> None:
        journal = place.open()
        store(journal, begin("a", b"0"), begin("b", b"1"), Write("a", [b"2", b"3"]))
        assert list(journal.read("a", after=1)) == [(3, b"2"), (4, b"3")]
        assert list(journal.read("a", after=2)) == [(3, b"2"), (4, b"3")]
        assert list(journal.read("a", after=4)) == []
        assert list(journal.read("a", after=10**30)) == []
        assert len(list(journal.read("a", after=-1))) == 3

    def test_a_long_run_among_others(self, place: Place) -> None:
        journal = place.open()
        store(journal, begin("a", b""), begin("b", b""))
        store(journal, *(Write("ab"[n % 2], [b"%d" % n]) for n in range(3_000)))
        assert bodies(journal, "a") == [b"", *(b"%d" % n for n in range(0, 3_000, 2))]

    def test_any_bytes_and_any_text_come_back_as_they_were(self, place: Place) -> None:
        journal = place.open()
        odd = row(
            "Ünïcode-é\0☃", name="a\0b 😀 ' \" \n", labels='{"k": "\u2028"}', error_code="", parent_run_id="x" * 5_000
        )
        store(journal, Write(odd.run_id, [b"", b"\0\xff'", b"x" * 2_000_000], run=odd, create=True))
        assert bodies(journal, odd.run_id) == [b"", b"\0\xff'", b"x" * 2_000_000]
        assert journal.run(odd.run_id) == odd
        assert journal.run("\ud800") is None

    def test_runs_in_the_order_they_were_created(self, place: Place) -> None:
        journal = place.open()
        store(journal, *(begin(name) for name in "cab"))
        store(journal, Write("a", run=row("a", "completed")))
        assert [found.run_id for found in journal.runs()] == ["b", "a", "c"]
        assert [found.run_id for found in journal.runs(newest_first=False)] == ["c", "a", "b"]
        assert [found.run_id for found in journal.runs(limit=2)] == ["b", "a"]
        assert [found.run_id for found in journal.runs(statuses={"running"})] == ["b", "c"]
        assert [found.run_id for found in journal.runs(statuses=["completed", "failed"])] == ["a"]
        assert journal.runs(statuses=()) == journal.runs(limit=0) == journal.runs(statuses=["\ud800"]) == []

    def test_a_negative_limit_is_refused(self, place: Place) -> None:
        with pytest.raises(UsageError, match="limit is 0 or more"):
            place.open().runs(limit=-1)


class TestLargeValues:
    @pytest.mark.parametrize("digest", [SHA, "sha256:" + SHA])
    def test_come_back_by_their_digest(self, place: Place, digest: str) -> None:
        journal = place.open()
        store(journal, begin("a", values={digest: BIG}), begin("b", values={digest: BIG}))
        assert journal.load([digest, digest]) == {digest: BIG}
        assert journal.load([]) == {}

    def test_a_missing_one_is_an_error_that_names_it(self, place: Place) -> None:
        with pytest.raises(JournalError, match=SHA) as caught:
            place.open().load([SHA])
        assert caught.value.code == "JOURNAL_CORRUPT"

    def test_one_that_differs_from_its_digest_is_never_handed_out(self, place: Place) -> None:
        journal = place.open()
        store(journal, begin("a", values={SHA: BIG[:-1]}))
        with pytest.raises(JournalError, match=SHA):
            journal.load([SHA])


class TestTheInbox:
    def test_hands_commands_out_in_order(self, place: Place, heard: Listener) -> None:
        journal = place.open(heard)
        ids = [journal.post({"type": "cancel", "runId": f"r{n}", "reason": "é☃"}) for n in range(3)]
        heard.wait(lambda it: len(it.commands) == 3)
        assert [posted.id for posted in heard.commands] == ids == sorted(ids)
        assert heard.commands[1].command == {"type": "cancel", "runId": "r1", "reason": "é☃"}
        assert journal.commands(after=ids[0]) == heard.commands[1:]

    def test_a_command_not_carried_out_is_found_again_and_one_carried_out_is_not(
        self, place: Place, heard: Listener
    ) -> None:
        journal = place.open(heard)
        first, second = journal.post({"n": 1}), journal.post({"n": 2})
        heard.wait(lambda it: len(it.commands) == 2)
        store(journal, begin("a", consumed=first))
        place.close()
        again = Listener()
        place.open(again)
        again.wait(lambda it: bool(it.commands))
        assert [posted.id for posted in again.commands] == [second]

    def test_a_refused_write_consumes_nothing(self, place: Place, heard: Listener) -> None:
        journal = place.open(heard)
        store(journal, begin("a"))
        posted = journal.post({"n": 1})
        store(journal, begin("a", consumed=posted), Write("ghost", [b"0"], consumed=posted))
        assert [one.id for one in journal.commands()] == [posted]

    def test_a_reply_takes_the_command_out(self, place: Place) -> None:
        journal = place.open()
        asked, other = journal.post({"n": 1}), journal.post({"n": 2})
        assert journal.reply_to(asked) is None
        journal.reply(asked, {"ok": True})
        store(journal, begin("a", consumed=other, reply=b'{"ok": false}'))
        assert (journal.reply_to(asked), journal.reply_to(other)) == ({"ok": True}, {"ok": False})
        assert journal.commands() == []

    def test_ids_are_never_used_twice(self, place: Place) -> None:
        journal = place.open()
        first = journal.post({})
        journal.reply(first, {})
        journal.flush(WAIT_S)
        assert journal.post({}) > first

    @pytest.mark.parametrize("command", [{"x": float("nan")}, {"x": {1, 2}}, {"x": "\ud800"}], ids=repr)
    def test_what_is_no_json_is_refused(self, place: Place, command: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="JSON object"):
            place.open().post(command)


class TestAMalformedWriteIsRefusedAtOnce:
    @pytest.mark.parametrize(
        "write",
        [
            Write("a", ["text"], run=row("a")),  # type: ignore[list-item]
            Write("a", [b"0"], run=row("b")),
            Write("a", [b"0"], create=True),
            Write("a", [b"0"], run=row("a"), consumed=2**63),
            Write("a", [b"0"], run=row("a", name="\ud800")),
            Write("a", [b"0"], run=row("a", name=None)),
            Write("a", [b"0"], run=row("a", plan_hash=7)),
            Write("a", [b"0"], run=row("a"), values={"\ud800": b""}),
            Write("a", [b"0"], run=row("a"), values={SHA: "text"}),  # type: ignore[dict-item]
        ],
    )
    def test_and_spoils_no_other(self, place: Place, heard: Listener, write: Write) -> None:
        journal = place.open(heard)
        with pytest.raises(UsageError):
            journal.submit([begin("x"), write])
        store(journal, begin("y"))
        assert [done.write.run_id for done in heard.committed] == ["y"]


class TestAClosedJournal:
    @pytest.mark.parametrize(
        "call",
        [
            lambda journal: journal.submit([begin("a")]),
            lambda journal: journal.post({}),
            lambda journal: journal.reply(1, {}),
            lambda journal: journal.flush(),
        ],
    )
    def test_takes_nothing_more(self, place: Place, call: Callable[[Any], object]) -> None:
        journal = place.open()
        journal.close()
        journal.close()
        with pytest.raises(JournalError, match="open it again") as caught:
            call(journal)
        assert caught.value.code == "JOURNAL_CLOSED"
