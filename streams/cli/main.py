"""The ``dynamicflow`` command. Imports typer only: what a command needs is loaded when it runs, so help is quick."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from . import stdout
from .arguments import (
    Bootstrap,
    Cluster,
    Db,
    Input,
    Json,
    Labels,
    MaxWait,
    Model,
    Option,
    Options,
    Partitions,
    PlanFile,
    Prefix,
    Prompt,
    Queues,
    Tools,
    TopicPrefix,
)
from .recorded import COMMANDS
from .worker import worker

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
    input: Input = None,
    db: Db = None,
    bootstrap: Cluster = None,
    prefix: TopicPrefix = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Names the run; the same command again goes on with it.")
    ] = None,
    model: Model = None,
    options: Options = None,
    option: Option = None,
    label: Labels = None,
    max_wait: MaxWait = 60.0,
    json: Json = False,
) -> int:
    """Run a prompt or a plan and print how it ended.

    With --db it is recorded there, with --bootstrap the workers of that cluster run it; --run-id alone goes on with a
    run that is there. Without any of them, and none in the environment, it runs in memory.
    """
    from .places import Where
    from .running import Request, run_command

    where = Where.of(db, bootstrap, prefix)
    asked = Request(
        prompt, plan, tools or [], input, where, run_id, model, options, option or [], label or [], max_wait
    )
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


for _command in COMMANDS:
    app.command()(_command)


@app.command()
def publish(
    prompt: Prompt = None,
    plan: PlanFile = None,
    plan_name: Annotated[
        str | None, typer.Option("--plan-name", metavar="NAME", help="A plan that was registered by this name.")
    ] = None,
    request: Annotated[
        str | None, typer.Option("--request", metavar="JSON|@FILE", help="A whole request, start or control, as it is.")
    ] = None,
    tools: Tools = None,
    input: Input = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Names the run: sent twice, it is one. Absent: a new one.")
    ] = None,
    model: Model = None,
    options: Options = None,
    option: Option = None,
    label: Labels = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait as `run` does, and print how it ended.")] = False,
    max_wait: MaxWait = 60.0,
    bootstrap: Bootstrap = None,
    prefix: Prefix = "",
    json: Json = False,
) -> int:
    """Put a request into the topic of a cluster, and print its run's id. It is checked first, as its workers would."""
    from .publishing import Order, publish_command

    order = Order(
        prompt=prompt,
        plan=plan,
        plan_name=plan_name,
        request=request,
        tools=tools or [],
        input=input,
        run_id=run_id,
        model=model,
        options=options,
        option=option or [],
        label=label or [],
    )
    return publish_command(order, bootstrap, prefix, max_wait=max_wait if wait else None, json_out=json)


@app.command()
def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What requests call the plan.")],
    plan: Annotated[str, typer.Argument(metavar="PLAN", help="A plan file; - is standard input.")],
    tools: Tools = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = "",
    json: Json = False,
) -> int:
    """Keep a plan in a cluster under a name, for requests. The same name again: the newer plan, from then on."""
    from .publishing import register_command

    return register_command(name, plan, tools or [], bootstrap, prefix, json_out=json)


@app.command()
def demo(json: Json = False) -> int:
    """See it all in a few seconds: a prompt, its plan, a run, and the run rebuilt from its log. Needs no model."""
    from .demo import demo_command

    return demo_command(json_out=json)


app.command()(worker)

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
