"""``make demo-kafka``: the whole on a real broker, without Docker. Exit code 0 when every order ended as it should.

A broker (DYNAMICFLOW_BOOTSTRAP, else one of its own), topics, two workers, requests published as any client would,
events streaming by, one worker killed with SIGKILL in the middle, the results, and a run rebuilt from its topic.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console

from tests.kafka.broker import Broker

HERE = Path(__file__).resolve().parent
ORDERS = 8
SKUS = ["pen", "notebook", "lamp"]
SESSION_S = 3
LEASE_S = 4
"""Short, so that the demo need not wait: by default steps of a worker that fell silent are left to it for a minute."""
SHOWN = {"plan-published", "tool-start", "tool-output", "tool-lost", "flow-complete"}
CONSOLE = Console(highlight=False)


@contextmanager
def brokers() -> Iterator[str]:
    """The address of the brokers to use."""
    if address := os.environ.get("DYNAMICFLOW_BOOTSTRAP"):
        yield address
        return
    with Broker() as own:
        yield own.bootstrap


@contextmanager
def worker(bootstrap: str, prefix: str, diary: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, as one starts it by hand."""
    command = [sys.executable, "-m", "dynamicflow", "worker", "--bootstrap", bootstrap, "--prefix", prefix]
    command += ["--tools", str(HERE / "tools.py"), "--session-timeout", str(SESSION_S), "--lease", str(LEASE_S)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, env={**os.environ, "DEMO_DIARY": str(diary)}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def told(number: int, title: str) -> None:
    CONSOLE.print(f"\n{number}. {title}", style="bold")


def cli(*words: str) -> str:
    """What a command of ours prints."""
    done = subprocess.run([sys.executable, "-m", "dynamicflow", *words], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


async def publish(producer: AIOKafkaProducer, prefix: str) -> None:
    """Plain records, by a plain producer."""
    plan = json.loads((HERE / "plan.json").read_text(encoding="utf-8"))
    for number in range(ORDERS):
        order = f"order-{number}"
        value = json.dumps({"plan": plan, "input": {"order": order, "skus": SKUS}}).encode()
        await producer.send_and_wait(f"{prefix}flow-requests", value, key=order.encode())


async def resolve(producer: AIOKafkaProducer, prefix: str, order: str) -> None:
    """Be the person who has looked into the books: the money was taken before the worker died."""
    found: dict[str, Any] = {"type": "resolve", "runId": order, "nodeId": "pay", "resolution": "done", "by": "demo"}
    found["output"] = {"receipt": f"{order}:found in the books"}
    CONSOLE.print(f"   nobody guesses whether {order} was charged: a person looks, and resolves it", style="yellow")
    await producer.send_and_wait(f"{prefix}flow-requests", json.dumps(found).encode(), key=order.encode())


async def follow(bootstrap: str, prefix: str, victim: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Show events as they come, kill the victim in the middle, until every order has its result."""
    consumer = AIOKafkaConsumer(
        f"{prefix}flow-events", f"{prefix}flow-complete", bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await consumer.start()
    await producer.start()
    results: dict[str, Any] = {}
    outputs = 0
    await publish(producer, prefix)
    while len(results) < ORDERS:
        record = await asyncio.wait_for(consumer.getone(), 90)
        kind = dict(record.headers).get("ce_type", b"").decode()
        if record.topic.endswith("flow-complete"):
            results[record.key.decode()] = json.loads(record.value)
        elif kind in SHOWN:
            node = json.loads(record.value).get("nodeId") or ""
            place = f"{record.partition}@{record.offset}"
            CONSOLE.print(f"   {place:6} {record.key.decode():9} {kind:14} {node}", style="dim")
        elif kind == "input-requested":
            await resolve(producer, prefix, record.key.decode())
        outputs += kind == "tool-output"
        if outputs == ORDERS * len(SKUS) and victim.poll() is None:
            os.killpg(victim.pid, signal.SIGKILL)
            CONSOLE.print(f"   worker {victim.pid} is killed (SIGKILL)", style="bold red")
    await producer.stop()
    await consumer.stop()
    return results


def main() -> int:
    """Run it; 0 when everything is as it should be."""
    prefix = f"demo-{secrets.token_hex(3)}-"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dynamicflow-demo-")))
        diary, log = folder / "diary", folder / "workers.log"
        told(1, "A broker, and the topics")
        bootstrap = stack.enter_context(brokers())
        CONSOLE.print(f"   {bootstrap}", style="dim")
        CONSOLE.print(cli("topics", "create", "--bootstrap", bootstrap, "--prefix", prefix, "--partitions", "4"))
        told(2, "Two workers, every role in each: dynamicflow worker --tools tools.py")
        victim, _ = [stack.enter_context(worker(bootstrap, prefix, diary, log)) for _ in range(2)]
        told(3, f"{ORDERS} requests on {prefix}flow-requests, as kcat or any client puts them there; events stream by")
        results = asyncio.run(follow(bootstrap, prefix, victim))
        told(4, "The results, from flow-complete")
        for order, result in sorted(results.items()):
            CONSOLE.print(f"   {order}: {result['status']:10} {json.dumps(result['output'])}")
        calls = Counter(line.split(" ", 1)[1] for line in diary.read_text(encoding="utf-8").splitlines())
        again = sorted(call for call, count in calls.items() if count > 1)
        charged = [call for call in again if call.startswith("charge")]
        CONSOLE.print(
            f"   {sum(calls.values())} calls for {len(calls)} steps; called twice: {', '.join(again) or 'none'}"
        )
        CONSOLE.print(f"   charged twice: {', '.join(charged) or 'nobody'}", style="bold")
        told(5, "order-0, rebuilt from its partition of the log alone")
        place = ("--bootstrap", bootstrap, "--prefix", prefix)
        CONSOLE.print(cli("rebuild", "order-0", "--verify", *place))
    good = all(result["status"] == "completed" for result in results.values())
    return 0 if good and not charged and len(results) == ORDERS else 1


if __name__ == "__main__":
    sys.exit(main())
