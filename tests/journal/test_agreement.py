"""The two journals are one: whatever is done to both, they say the same."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dynamicflow.streams.embedded.journal import Journal, Write
from tests.journal.journal_kit import WAIT_S, Listener, Place, row

RUNS = ["a", "b", "c"]
names = st.sampled_from(RUNS)
statuses = st.sampled_from(["running", "completed"])
records = st.lists(st.binary(max_size=6), max_size=3)


@st.composite
def a_write(draw: st.DrawFn) -> Write:
    name = draw(names)
    create = draw(st.booleans())
    index = row(name, draw(statuses), name=draw(st.text(st.characters(codec="utf-8"), max_size=3)))
    content = draw(st.binary(max_size=4))
    return Write(
        name,
        draw(records),
        values={hashlib.sha256(content).hexdigest(): content} if draw(st.booleans()) else {},
        run=index if create or draw(st.booleans()) else None,
        create=create,
        consumed=draw(st.none() | st.integers(1, 4)),
        reply=draw(st.none() | st.just(b'{"ok":1}')),
    )


class Journals(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.places = [Place("sqlite", self.folder / "runs.db"), Place("memory", self.folder)]
        self.heard = [Listener(), Listener()]
        self.digests: set[str] = set()
        self.journals: list[Journal] = []
        self.open_again()

    def teardown(self) -> None:
        for place in self.places:
            place.close()
        shutil.rmtree(self.folder)

    @rule()
    def open_again(self) -> None:
        for place in self.places:
            place.close()
        self.journals = [place.open(heard) for place, heard in zip(self.places, self.heard, strict=True)]

    @rule(writes=st.lists(a_write(), max_size=5))
    def submit(self, writes: list[Write]) -> None:
        for journal in self.journals:
            journal.submit(writes)
            journal.flush(WAIT_S)
        assert self.heard[0].committed == self.heard[1].committed
        self.digests |= {
            digest for done in self.heard[0].committed if done.error is None for digest in done.write.values
        }

    @rule(n=st.integers())
    def post(self, n: int) -> None:
        assert len({journal.post({"n": n}) for journal in self.journals}) == 1

    @rule(inbox_id=st.integers(1, 4))
    def reply(self, inbox_id: int) -> None:
        for journal in self.journals:
            journal.reply(inbox_id, {"n": inbox_id})
            journal.flush(WAIT_S)

    @rule(name=names, after=st.integers(0, 20), limit=st.none() | st.integers(0, 3), newest=st.booleans(), of=statuses)
    def look(self, name: str, after: int, limit: int | None, newest: bool, of: str) -> None:
        one, other = self.journals
        assert list(one.read(name, after=after)) == list(other.read(name, after=after))
        assert one.runs(limit=limit, newest_first=newest) == other.runs(limit=limit, newest_first=newest)
        assert one.runs(statuses={of}) == other.runs(statuses={of})

    @invariant()
    def they_agree(self) -> None:
        one, other = self.journals
        assert [list(one.read(name)) for name in RUNS] == [list(other.read(name)) for name in RUNS]
        assert [one.count(name) for name in RUNS] == [other.count(name) for name in RUNS]
        assert one.runs() == other.runs()
        assert one.load(self.digests) == other.load(self.digests)
        waiting = [[(posted.id, posted.command) for posted in journal.commands()] for journal in self.journals]
        assert waiting[0] == waiting[1]
        assert [one.reply_to(n) for n in range(5)] == [other.reply_to(n) for n in range(5)]


TestJournalsAgree = Journals.TestCase
TestJournalsAgree.settings = settings(
    max_examples=25, stateful_step_count=15, deadline=None, phases=(Phase.generate, Phase.shrink)
)
