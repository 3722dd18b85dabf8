"""What a reader of a run sees: the log in order, and what follows from it (canonical.md §4)."""

from __future__ import annotations

import asyncio

from tests.engine.engine_kit import CHAIN, WAIT_S, Gate, Open, call, double, flaky, made, plan, types_of, unheld


class TestTheEventsOfAToolNode:
    async def test_come_in_this_order(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(plan(call("a", "double", {"n": 1})), run_id="r")
            events = [event async for event in run.events()]

        assert types_of(events) == [
            "flow-requested",
            "state-change",
            "plan-published",
            "plan-validated",
            "node-start",
            "node-ready",
            "state-change",
            "flow-start",
            "tool-start",
            "tool-output",
            "node-complete",
            "flow-progress",
            "state-change",
            "flow-complete",
        ]

    async def test_say_of_themselves_whether_they_are_derived(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(CHAIN, input={"n": 1})
            shown = [event async for event in run.events()]
            stored = [event async for event in run.events(derived=False)]

        derived = [event for event in shown if getattr(event, "derived", False)]
        assert [event.id for event in shown if event not in derived] == [event.id for event in stored]
        assert unheld(types_of(stored)) == [
            "flow-requested",
            "plan-published",
            "flow-start",
            "tool-output",
            "tool-output",
            "flow-complete",
        ]
        assert {"node-start", "node-complete", "state-change"} <= set(types_of(derived))
        assert types_of(shown).count("tool-start") == 2
        assert all(event.causation_id in {one.id for one in stored} for event in derived)

    async def test_have_ids_of_their_own(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(CHAIN, input={"n": 1})
            ids = [event.id async for event in run.events()]

        assert len(set(ids)) == len(ids)

    async def test_of_a_retry_show_every_attempt(self, make: Open) -> None:
        retry = {"maxAttempts": 3, "initialDelay": 1, "maxDelay": 1}
        async with make(tools=[flaky(2)]) as engine:
            run = await engine.start(plan(call("a", "flaky", retry=retry)))
            events = [event async for event in run.events()]

        assert [(event.type, event.attempt) for event in events if event.type in ("tool-error", "tool-output")] == [
            ("tool-error", 1),
            ("tool-error", 2),
            ("tool-output", 3),
        ]
        assert types_of(events).count("node-retry") == 2
        assert types_of(events).count("tool-start") == 3

    async def test_of_a_failed_run_say_so_before_the_end(self, make: Open) -> None:
        async with make(tools=[flaky(1)]) as engine:
            run = await engine.start(plan(call("a", "flaky")))
            events = [event async for event in run.events()]

        assert types_of(events)[-5:] == ["node-error", "error", "flow-error", "error", "flow-complete"]

    async def test_of_a_held_step_have_a_start_that_is_stored(self, make: Open) -> None:
        pay = made("pay", lambda inputs, context: "paid", config={"sideEffect": "non_idempotent"})
        async with make(tools=[pay]) as engine:
            run = await engine.start(plan(call("a", "pay")))
            shown = [event async for event in run.events()]

        (start,) = [event for event in shown if event.type == "tool-start"]
        assert not getattr(start, "derived", False)
        assert start.claim


class TestReadingAgain:
    async def test_gives_the_same_in_a_later_process(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(CHAIN, input={"n": 1}, run_id="r")
            before = [event async for event in run.events()]

        async with make() as engine:
            assert [event async for event in engine.run("r").events()] == before

    async def test_after_skips_that_many_records_and_what_follows_from_them(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(CHAIN, input={"n": 1}, run_id="r")
            every = [event async for event in run.events()]
            stored = [event async for event in run.events(derived=False)]

            for after in range(len(stored) + 1):
                assert [event async for event in run.events(after=after, derived=False)] == stored[after:]
                rest = [event async for event in run.events(after=after)]
                assert rest == every[len(every) - len(rest) :]
                skipped = {event.id for event in stored[:after]}
                assert not skipped & {event.id for event in rest}


class TestFollowing:
    async def test_shows_what_happens_as_it_happens_until_the_end(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool]) as engine:
            run = await engine.start(plan(call("a", "gate")))
            seen: list[str] = []

            async def follow() -> None:
                async for event in run.events(derived=False):
                    seen.append(event.type)
                    if event.type == "flow-start":
                        gate.open()  # the run cannot end before the reader is here

            await asyncio.wait_for(follow(), WAIT_S)

        assert unheld(seen) == ["flow-requested", "plan-published", "flow-start", "tool-output", "flow-complete"]

    async def test_not_following_stops_where_the_log_ends(self, make: Open) -> None:
        gate = Gate()
        async with make(tools=[gate.tool]) as engine:
            run = await engine.start(plan(call("a", "gate")))
            await asyncio.to_thread(gate.entered.wait, WAIT_S)

            so_far = [event.type async for event in run.events(derived=False, follow=False)]
            gate.open()
            await run.result()

        assert unheld(so_far) in (requested := ["flow-requested", "plan-published"], [*requested, "flow-start"])

    async def test_many_readers_see_the_same(self, make: Open) -> None:
        async with make(tools=[double]) as engine:
            run = await engine.start(CHAIN, input={"n": 1})

            async def read() -> list[str]:
                return [event.id async for event in run.events()]

            first, *others = await asyncio.gather(*(read() for _ in range(8)))

        assert all(other == first for other in others)
