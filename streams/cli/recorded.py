"""Commands on runs that are recorded, in a journal or in the topics of a cluster. Imports typer only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .arguments import By, Cluster, Db, Json, Reason, RunId, TopicPrefix

if TYPE_CHECKING:
    from .places import Place


def runs(
    db: Db = None,
    bootstrap: Cluster = None,
    prefix: TopicPrefix = None,
    status: Annotated[list[str] | None, typer.Option("--status", help="Only these; may come often.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many, newest first.")] = 50,
    json: Json = False,
) -> int:
    """List runs, newest first. Of those that have ended, a cluster knows the ones of the last seven days."""
    from .reading import runs_command

    return runs_command(_place(db, bootstrap, prefix), status or [], limit, json_out=json)


def show(run: RunId, db: Db = None, bootstrap: Cluster = None, prefix: TopicPrefix = None, json: Json = False) -> int:
    """Show how a run stands or ended: its result record."""
    from .reading import show_command

    return show_command(_place(db, bootstrap, prefix), run, json_out=json)


def events(
    run: RunId,
    db: Db = None,
    bootstrap: Cluster = None,
    prefix: TopicPrefix = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until the run has ended.")] = False,
    after: Annotated[int, typer.Option("--after", min=0, help="Leave out the first N records.")] = 0,
    raw: Annotated[bool, typer.Option("--raw", help="Only what the log holds, nothing derived from it.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line.")] = False,
) -> int:
    """Print a run's events in the order of its log."""
    from .reading import events_command

    place = _place(db, bootstrap, prefix)
    return events_command(place, run, follow=follow, after=after, raw=raw, json_out=json)


def watch(run: RunId, db: Db = None, bootstrap: Cluster = None, prefix: TopicPrefix = None, json: Json = False) -> int:
    """Follow a run that others drive, until it has ended or waits for somebody."""
    from .reading import watch_command

    return watch_command(_place(db, bootstrap, prefix), run, json_out=json)


def rebuild(
    run: RunId,
    db: Db = None,
    bootstrap: Cluster = None,
    prefix: TopicPrefix = None,
    at: Annotated[int | None, typer.Option("--at", min=0, metavar="N", help="From the first N records only.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Recompute every announcement and compare it with the log.")
    ] = False,
    json: Json = False,
) -> int:
    """Rebuild a run's state from its log. No tool, model or clock takes part."""
    from .reading import rebuild_command

    return rebuild_command(_place(db, bootstrap, prefix), run, at=at, verify=verify, json_out=json)


def resolve(
    run: RunId,
    node: Annotated[str, typer.Argument(metavar="NODE", help="The step whose outcome is unknown.")],
    db: Db = None,
    bootstrap: Cluster = None,
    prefix: TopicPrefix = None,
    done: Annotated[str | None, typer.Option("--done", metavar="JSON|@FILE", help="It was done; its output.")] = None,
    fail: Annotated[bool, typer.Option("--fail", help="It was not done: the step fails.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Run it again, under the same key.")] = False,
    item: Annotated[str, typer.Option("--item", metavar="2.0", help="Which item of a collection, as in events.")] = "",
    by: By = "",
    reason: Reason = "",
    json: Json = False,
) -> int:
    """Settle a step whose outcome nobody knows."""
    from .control import resolve_command

    chosen: list[tuple[Literal["done", "fail", "retry"], str | None]] = []
    chosen += [("done", done)] if done is not None else []
    chosen += [("fail", None)] if fail else []
    chosen += [("retry", None)] if retry else []
    return resolve_command(_place(db, bootstrap, prefix), run, node, chosen, item, by, reason, json_out=json)


def cancel(
    run: RunId,
    db: Db = None,
    bootstrap: Cluster = None,
    prefix: TopicPrefix = None,
    by: By = "",
    reason: Reason = "",
    json: Json = False,
) -> int:
    """End a run as cancelled."""
    from .control import ask_command

    return ask_command(_place(db, bootstrap, prefix), "cancel", run, by, reason, json_out=json)


def pause(
    run: RunId,
    db: Db = None,
    bootstrap: Cluster = None,
    prefix: TopicPrefix = None,
    by: By = "",
    reason: Reason = "",
    json: Json = False,
) -> int:
    """Start nothing new of a run until it is resumed; what runs is let end."""
    from .control import ask_command

    return ask_command(_place(db, bootstrap, prefix), "pause", run, by, reason, json_out=json)


def resume(
    run: RunId,
    db: Db = None,
    bootstrap: Cluster = None,
    prefix: TopicPrefix = None,
    by: By = "",
    reason: Reason = "",
    json: Json = False,
) -> int:
    """Go on with a run that is paused, or parked when what parked it has been mended."""
    from .control import ask_command

    return ask_command(_place(db, bootstrap, prefix), "resume", run, by, reason, json_out=json)


def _place(db: str | None, bootstrap: str | None, prefix: str | None) -> Place:
    from .places import Where, place_of

    return place_of(Where.of(db, bootstrap, prefix))


COMMANDS = (runs, show, events, watch, rebuild, resolve, cancel, pause, resume)
"""In the order of the help."""
