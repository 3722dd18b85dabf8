"""The ``dynamicflow`` command. Imports typer only: what a command needs is loaded when it runs, so help is quick."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

from . import stdout
from .defaults import DB

app = typer.Typer(
    help="A prompt becomes a plan you can read and bound; the plan runs, and its run can be rebuilt from its log.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "Exit codes: 0 completed; 1 failed, partial, cancelled, timed out; 2 usage, invalid plan or input, rejected; "
        "3 waits for a person or a time; 4 journal, broker or endpoint unusable; 130 interrupted."
    ),
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")]
Db = Annotated[str, typer.Option("--db", envvar="DYNAMICFLOW_DB", metavar="FILE", help="The journal of the runs.")]
MaybeDb = Annotated[
    str | None,
    typer.Option(
        "--db",
        envvar="DYNAMICFLOW_DB",
        metavar="FILE",
        help=f"Record the run in this journal. Absent: in memory, or in {DB} when --run-id is given.",
    ),
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run id; `dynamicflow runs` lists them.")]
Prompt = Annotated[str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="What is to be done.")]
PlanFile = Annotated[str | None, typer.Option("--plan", metavar="FILE", help="A plan to run; - is standard input.")]
Tools = Annotated[
    list[str] | None,
    typer.Option("--tools", "-t", metavar="FILE.py", help="A Python file with tools and joins; may come often."),
]
Model = Annotated[str | None, typer.Option("--model", "-m", help="The planner's model; `offline` asks for none.")]
Options = Annotated[
    str | None, typer.Option("--options", metavar="JSON|@FILE", help="Options of the request; durations in ms.")
]
Option = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="NAME=VALUE", help="One option, as in planning.retry.maxAttempts=1."),
]
By = Annotated[str, typer.Option("--by", help="Who asks; kept in the log.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the log.")]
Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap", envvar="DYNAMICFLOW_BOOTSTRAP", metavar="HOST:PORT", help="The Kafka brokers."),
]
Prefix = Annotated[
    str, typer.Option("--prefix", envvar="DYNAMICFLOW_TOPIC_PREFIX", help="Stands before every topic's name.")
]
Queues = Annotated[
    list[str] | None, typer.Option("--queue", metavar="NAME", help="A queue beside `default`; may come often.")
]
Partitions = Annotated[
    int | None,
    typer.Option("--partitions", min=1, envvar="DYNAMICFLOW_PARTITIONS", help="Of the log; fixed for its life."),
]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"dynamicflow {version('dynamicflow')}")
        except PackageNotFoundError:  # run from a source folder
            typer.echo("dynamicflow (not installed)")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an internal error.")] = False,
) -> None:
    pass


@app.command()
def run(
    prompt: Prompt = None,
    plan: PlanFile = None,
    tools: Tools = None,
    input: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="JSON|@FILE", help="The run's input; @- is standard input."),
    ] = None,
    db: MaybeDb = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Names the run; the same command again goes on with it.")
    ] = None,
    model: Model = None,
    options: Options = None,
    option: Option = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME=TEXT", help="Kept with the run; may come often.")
    ] = None,
    max_wait: Annotated[
        float, typer.Option("--max-wait", min=0, metavar="SECONDS", help="Leave when a wait is longer than this.")
    ] = 60.0,
    json: Json = False,
) -> int:
    """Run a prompt or a plan and print how it ended.

    With --db the run is recorded; --run-id alone goes on with a run that is there. Without both it runs in memory.
    """
    from .running import Request, run_command

    asked = Request(prompt, plan, tools or [], input, db, run_id, model, options, option or [], label or [], max_wait)
    return run_command(asked, json_out=json)


@app.command()
def plan(
    prompt: Annotated[str, typer.Option("--prompt", "-p", metavar="TEXT", help="What is to be done.")],
    tools: Tools = None,
    input: Annotated[
        str | None,
        typer.Option("--input", "-i", metavar="JSON|@FILE", help="An example; only names and types are looked at."),
    ] = None,
    model: Model = None,
    options: Options = None,
    option: Option = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the plan as a Mermaid flowchart.")] = False,
    json: Json = False,
) -> int:
    """Make a plan of a prompt and print it with its certificate and inspection. Nothing runs."""
    from .plans import plan_command

    return plan_command(prompt, tools or [], input, model, options, option or [], mermaid=mermaid, json_out=json)


@app.command()
def check(
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A plan file; - is standard input.")],
    tools: Tools = None,
    options: Options = None,
    option: Option = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the plan as a Mermaid flowchart.")] = False,
    json: Json = False,
) -> int:
    """Tell everything that is wrong with a plan, or what bounds it. Nothing runs."""
    from .plans import check_command

    return check_command(plan, tools or [], options, option or [], mermaid=mermaid, json_out=json)


@app.command()
def runs(
    db: Db = DB,
    status: Annotated[list[str] | None, typer.Option("--status", help="Only these; may come often.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many, newest first.")] = 50,
    json: Json = False,
) -> int:
    """List the runs of a journal, newest first."""
    from .reading import runs_command

    return runs_command(db, status or [], limit, json_out=json)


@app.command()
def show(run: RunId, db: Db = DB, json: Json = False) -> int:
    """Show how a run stands or ended: its result record."""
    from .reading import show_command

    return show_command(db, run, json_out=json)


@app.command()
def events(
    run: RunId,
    db: Db = DB,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until the run has ended.")] = False,
    after: Annotated[int, typer.Option("--after", min=0, help="Leave out the first N records.")] = 0,
    raw: Annotated[bool, typer.Option("--raw", help="Only what the log holds, nothing derived from it.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line.")] = False,
) -> int:
    """Print a run's events in the order of its log."""
    from .reading import events_command

    return events_command(db, run, follow=follow, after=after, raw=raw, json_out=json)


@app.command()
def watch(run: RunId, db: Db = DB, json: Json = False) -> int:
    """Follow a run that another process drives, until it has ended or waits for somebody."""
    from .reading import watch_command

    return watch_command(db, run, json_out=json)


@app.command()
def rebuild(
    run: RunId,
    db: Db = DB,
    at: Annotated[int | None, typer.Option("--at", min=0, metavar="N", help="From the first N records only.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Recompute every announcement and compare it with the log.")
    ] = False,
    json: Json = False,
) -> int:
    """Rebuild a run's state from its log. No tool, model or clock takes part."""
    from .reading import rebuild_command

    return rebuild_command(db, run, at=at, verify=verify, json_out=json)


@app.command()
def resolve(
    run: RunId,
    node: Annotated[str, typer.Argument(metavar="NODE", help="The step whose outcome is unknown.")],
    db: Db = DB,
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
    return resolve_command(db, run, node, chosen, item, by, reason, json_out=json)


@app.command()
def cancel(run: RunId, db: Db = DB, by: By = "", reason: Reason = "", json: Json = False) -> int:
    """End a run as cancelled."""
    from .control import cancel_command

    return cancel_command(db, run, by, reason, json_out=json)


@app.command()
def demo(json: Json = False) -> int:
    """See it all in a few seconds: a prompt, its plan, a run, and the run rebuilt from its log. Needs no model."""
    from .demo import demo_command

    return demo_command(json_out=json)


topics = typer.Typer(help="The Kafka topics: make, list and check them.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(topics, name="topics", epilog="Login and TLS come from the environment: DYNAMICFLOW_SECURITY_PROTOCOL, …")


@topics.command("create")
def topics_create(
    bootstrap: Bootstrap = None,
    prefix: Prefix = "",
    partitions: Partitions = None,
    replication: Annotated[
        int | None, typer.Option("--replication", min=1, help="Copies of each. Absent: 3, or one a broker.")
    ] = None,
    queue: Queues = None,
    json: Json = False,
) -> int:
    """Make the topics that are missing. Those that are there stay as they are, and are checked."""
    from .topics import create_command

    return create_command(bootstrap, prefix, partitions, replication, queue or [], json_out=json)


@topics.command("list")
def topics_list(bootstrap: Bootstrap = None, prefix: Prefix = "", json: Json = False) -> int:
    """List those that are there."""
    from .topics import list_command

    return list_command(bootstrap, prefix, json_out=json)


@topics.command("check")
def topics_check(
    bootstrap: Bootstrap = None,
    prefix: Prefix = "",
    partitions: Partitions = None,
    queue: Queues = None,
    json: Json = False,
) -> int:
    """Tell everything that keeps workers from starting, and what is not safe."""
    from .topics import check_command

    return check_command(bootstrap, prefix, partitions, queue or [], json_out=json)


def _quiet(debug: bool) -> None:
    """What the engine logs is for operators of services; here every fault is told once, as a sentence."""
    for name in ("dynamicflow", "aiokafka"):
        logging.getLogger(name).addHandler(logging.StreamHandler() if debug else logging.NullHandler())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. Whatever happens, nobody sees a traceback who did not ask for one (``--debug``)."""
    given = list(sys.argv[1:] if argv is None else argv)
    own = given[: given.index("--")] if "--" in given else given
    json_out, debug = "--json" in own, "--debug" in own
    if debug:
        own = [word for word in own if word != "--debug"]
        given = own + given[len(given) if "--" not in given else given.index("--") :]
    _quiet(debug)
    try:
        code = app(given, standalone_mode=False, prog_name="dynamicflow")
        stdout.flush()
        if code == 130 and json_out and not stdout.written():
            raise KeyboardInterrupt  # typer answers one with this code and says nothing
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        from .errors import tell_interrupted

        return tell_interrupted(json_out=json_out and "events" not in own)
    except Exception as error:  # the last place where one can be told as a sentence
        from .errors import tell

        return tell(error, json_out=json_out, debug=debug)
    finally:
        if argv is not None:  # called inside another program; else what lingers of users' code stays set aside
            stdout.give_back()
