"""Options that several commands take. Imports typer only."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")]


def _in_utf8(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise typer.BadParameter(f"{text[:60]!a} is not UTF-8; check the encoding it comes in") from error
    return text


RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="A run id; `dynamicflow runs` lists them.", callback=_in_utf8)
]
Db = Annotated[
    str | None,
    typer.Option("--db", metavar="FILE", help="The journal of the runs [DYNAMICFLOW_DB; runs.db]."),
]
Cluster = Annotated[
    str | None,
    typer.Option("--bootstrap", metavar="HOST:PORT", help="Kafka brokers, if it is there [DYNAMICFLOW_BOOTSTRAP]."),
]
TopicPrefix = Annotated[
    str | None,
    typer.Option("--prefix", metavar="TEXT", help="Before every topic's name [DYNAMICFLOW_TOPIC_PREFIX]."),
]
Bootstrap = Annotated[
    str | None,
    typer.Option("--bootstrap", envvar="DYNAMICFLOW_BOOTSTRAP", metavar="HOST:PORT", help="The Kafka brokers."),
]
Prefix = Annotated[
    str, typer.Option("--prefix", envvar="DYNAMICFLOW_TOPIC_PREFIX", help="Stands before every topic's name.")
]
Prompt = Annotated[str | None, typer.Option("--prompt", "-p", metavar="TEXT", help="What is to be done.")]
PlanFile = Annotated[str | None, typer.Option("--plan", metavar="FILE", help="A plan to run; - is standard input.")]
Input = Annotated[
    str | None, typer.Option("--input", "-i", metavar="JSON|@FILE", help="The run's input; @- is standard input.")
]
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
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME=TEXT", help="Kept with the run; may come often.")
]
MaxWait = Annotated[
    float, typer.Option("--max-wait", min=0, metavar="SECONDS", help="Leave when a wait is longer than this.")
]
By = Annotated[str, typer.Option("--by", help="Who asks; kept in the log.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the log.")]
Queues = Annotated[
    list[str] | None, typer.Option("--queue", metavar="NAME", help="A queue beside `default`; may come often.")
]
Partitions = Annotated[
    int | None,
    typer.Option("--partitions", min=1, envvar="DYNAMICFLOW_PARTITIONS", help="Of the log; fixed for its life."),
]
