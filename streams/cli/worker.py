"""``dynamicflow worker``: the command line of a worker process. Imports typer only; what runs is in ``working``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

Level = Literal["debug", "info", "warning", "error"]


def worker(
    bootstrap: Annotated[
        str | None,
        typer.Option("--bootstrap", envvar="DYNAMICFLOW_BOOTSTRAP", metavar="HOST:PORT", help="The Kafka brokers."),
    ] = None,
    prefix: Annotated[
        str, typer.Option("--prefix", envvar="DYNAMICFLOW_TOPIC_PREFIX", help="Stands before every topic's name.")
    ] = "",
    roles: Annotated[
        str, typer.Option("--roles", envvar="DYNAMICFLOW_ROLES", metavar="ROLE,…", help="What this process does.")
    ] = "intake,planner,scheduler,executor",
    queues: Annotated[
        str, typer.Option("--queues", envvar="DYNAMICFLOW_QUEUES", metavar="NAME,…", help="Whose steps it runs.")
    ] = "default",
    tools: Annotated[
        list[Path] | None,
        typer.Option(
            "--tools", "-t", envvar="DYNAMICFLOW_TOOLS", metavar="FILE.py", help="Tools and joins; may come often."
        ),
    ] = None,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, envvar="DYNAMICFLOW_CONCURRENCY", help="Steps in flight at once.")
    ] = 500,
    threads: Annotated[
        int,
        typer.Option("--threads", min=1, envvar="DYNAMICFLOW_THREADS", help="For tools that are no coroutines."),
    ] = 32,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port",
            min=0,
            max=65_535,
            envvar="DYNAMICFLOW_METRICS_PORT",
            help="Serve /metrics, /healthz and /readyz there; 0 takes a free port. Absent: not at all.",
        ),
    ] = None,
    metrics_host: Annotated[
        str, typer.Option("--metrics-host", envvar="DYNAMICFLOW_METRICS_HOST", help="At this address.")
    ] = "127.0.0.1",
    log_level: Annotated[
        Level, typer.Option("--log-level", envvar="DYNAMICFLOW_LOG_LEVEL", case_sensitive=False, help="On stderr.")
    ] = "info",
    session_timeout: Annotated[
        float,
        typer.Option(
            "--session-timeout",
            min=1,
            metavar="SECONDS",
            envvar="DYNAMICFLOW_SESSION_TIMEOUT",
            help="A worker that is silent for so long loses its partitions to others.",
        ),
    ] = 10.0,
    lease: Annotated[
        float,
        typer.Option(
            "--lease",
            min=1,
            metavar="SECONDS",
            envvar="DYNAMICFLOW_LEASE",
            help="How long a started step whose worker fell silent is left to it; it is renewed while the step runs.",
        ),
    ] = 60.0,
    drain: Annotated[
        float,
        typer.Option(
            "--drain",
            min=0,
            metavar="SECONDS",
            envvar="DYNAMICFLOW_DRAIN",
            help="How long running steps may take when it is told to stop; what is left goes to others.",
        ),
    ] = 60.0,
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            min=0,
            metavar="SECONDS",
            envvar="DYNAMICFLOW_WAIT",
            help="How long to wait for brokers that are still starting.",
        ),
    ] = 60.0,
    create_topics: Annotated[
        bool,
        typer.Option(
            "--create-topics/--no-create-topics",
            envvar="DYNAMICFLOW_CREATE_TOPICS",
            help="Make the topics that are missing, or refuse to start without them.",
        ),
    ] = True,
    partitions: Annotated[
        int | None,
        typer.Option(
            "--partitions",
            min=1,
            envvar="DYNAMICFLOW_PARTITIONS",
            help="Of the log; fixed for its life: with another count than there is, it refuses to start.",
        ),
    ] = None,
    replication: Annotated[
        int | None,
        typer.Option(
            "--replication",
            min=1,
            envvar="DYNAMICFLOW_REPLICATION",
            help="Copies of topics it makes. Absent: 3, or one a broker.",
        ),
    ] = None,
) -> int:
    """Do the work of the Kafka shell until told to stop: admit requests, plan, schedule, run steps.

    SIGTERM or SIGINT: running steps end, what is left goes to others, exit code 0. A second signal ends it at once.
    Login and TLS come from the environment: DYNAMICFLOW_SECURITY_PROTOCOL, …
    """
    from .stopping import Stop, Stopped

    with Stop() as stop:  # before what takes time is loaded: whatever it is doing, it can be told to stop
        try:
            from .working import Order, work

            order = Order(
                bootstrap=bootstrap,
                prefix=prefix,
                roles=roles,
                queues=queues,
                tools=[str(path) for path in tools or []],
                concurrency=concurrency,
                threads=threads,
                metrics=None if metrics_port is None else (metrics_host, metrics_port),
                log_level=log_level,
                session_s=session_timeout,
                lease_s=lease,
                drain_s=drain,
                wait_s=wait,
                create_topics=create_topics,
                partitions=partitions,
                replication=replication,
            )
            return work(order, stop)
        except Stopped:
            typer.echo("told to stop before it began", err=True)
            return 0
