"""A real Apache Kafka for tests: ``Broker`` is one KRaft node (broker and controller), ``Cluster`` is three.

    with Broker() as broker:
        AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
        broker.restart()        # same ports, same data
    with Broker(secure=True) as broker:
        Connection(broker.bootstrap_for("SASL_SSL"), username=broker.username, …)
    with Cluster() as cluster:
        cluster.nodes[0].kill()

A node has its own folder, ports and process group, and dies with the process it belongs to (``guard.py``).
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Literal, Self

from tests.kafka.runtime import QUICK, Java, NoKafka, Runtime, runtime
from tests.kafka.security import PASSWORD, SCRAM_USERS, USERNAME, listener_properties, make_certificates, token

SecurityProtocol = Literal["PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL"]

HOST: Final = "127.0.0.1"
READY_SECONDS: Final = 40.0
STARTED: Final = b"Kafka Server started"
CLUSTER_ID: Final = "dynamicflow-tests-cl-0"
GUARD: Final = Path(__file__).with_name("guard.py")
PORTS: Final = range(15_000, 30_000)
"""Below every ephemeral range: a client that calls a stopped broker must not be given the broker's port as its own."""

LOGGING: Final = """\
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
logger.config.name = org.apache.kafka.common.config
logger.config.level = warn
appender.file.type = File
appender.file.name = file
appender.file.fileName = {file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c{{1}} %m%n
"""


class BrokerFailed(Exception):
    """A node ended, or was not ready in time; ``log`` is the end of what it wrote."""

    def __init__(self, what: str, log: str) -> None:
        super().__init__(what, log)
        self.what, self.log = what, log

    def __str__(self) -> str:
        return f"the test's Kafka broker {self.what}; the end of its log:\n{self.log}"


CANDIDATES: Final = itertools.count(os.getpid() * 101)
"""No port twice in a process, and processes apart: a port must be ours from the look at it until the node takes it."""


def free_port() -> int:
    """A port nobody listens on now. Raises OSError if there are 500 in a row that are taken."""
    for candidate in itertools.islice(CANDIDATES, 500):
        port = PORTS[candidate % len(PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port of 500 tried in {PORTS.start}..{PORTS.stop - 1}")


@dataclass(frozen=True)
class SharedBroker:
    """The broker of a test run. It is nobody's to stop."""

    bootstrap: str
    pid: int | None = None
    """None if it was running before: DYNAMICFLOW_TEST_KAFKA."""

    @classmethod
    def at(cls, address: str) -> Self:
        """One that was running before. Raises NoKafka if nobody listens there."""
        host, _, port = address.split(",")[0].rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except (OSError, ValueError) as error:
            raise NoKafka(f"DYNAMICFLOW_TEST_KAFKA={address} does not answer ({error})") from error
        return cls(address)


class Broker:
    """One node; down after construction. ``properties`` go to ``server.properties`` and win over what is there."""

    username: ClassVar = USERNAME
    password: ClassVar = PASSWORD
    token = staticmethod(token)

    def __init__(
        self,
        *,
        properties: Mapping[str, str] | None = None,
        secure: bool = False,
        heap: str = "512m",
        jvm: tuple[str, ...] = QUICK,
        folder: Path | None = None,
        belongs_to: int | None = None,
        node_id: int = 1,
        controllers: tuple[int, ...] = (),
        using: Runtime | None = None,
    ) -> None:
        """``secure`` opens a listener for each protocol beside the plain one: every SASL mechanism, one user, TLS.

        ``folder`` is made and removed at the end by default; ``belongs_to``, by default this process, is the process
        whose end is the node's end; ``controllers`` are the controller ports of nodes 1, 2, … of a cluster.
        """
        self._runtime = using or runtime(warm_up)
        self.folder = folder or Path(tempfile.mkdtemp(prefix="dynamicflow-kafka-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._keeps_folder = folder is not None
        self._belongs_to = belongs_to or os.getpid()
        self._jvm = (*jvm, f"-Xmx{heap}")
        self._node_id = node_id
        self._controllers = controllers or (free_port(),)
        clients: tuple[SecurityProtocol, ...] = ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL")
        self._secure = secure
        self._ports: dict[SecurityProtocol, int] = {protocol: free_port() for protocol in clients[: 4 if secure else 1]}
        self._internal_port = free_port()
        self._name = f"{self.folder.name}-{node_id}"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_before = 0
        self._properties = {**self._settings(), **(properties or {})}

    @property
    def bootstrap(self) -> str:
        return self.bootstrap_for("PLAINTEXT")

    def bootstrap_for(self, protocol: SecurityProtocol) -> str:
        """The address of that listener. Raises KeyError for all but PLAINTEXT unless the broker is ``secure``."""
        return f"{HOST}:{self._ports[protocol]}"

    @property
    def certificates(self) -> Path:
        """The folder of ``make_certificates``; filled once the node is started, if it is ``secure``."""
        return self.folder / "certificates"

    @property
    def cafile(self) -> Path:
        return self.certificates / "ca.pem"

    @property
    def certfile(self) -> Path:
        """A client's certificate; ``keyfile`` is its key. The SSL listener asks for one and does without."""
        return self.certificates / "client.pem"

    @property
    def keyfile(self) -> Path:
        return self.certificates / "client.key"

    @property
    def pid(self) -> int | None:
        """The process, which leads its group; None while the node is down."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def _settings(self) -> dict[str, str]:
        nodes = len(self._controllers)
        listeners: dict[str, int] = dict(self._ports.items())
        listeners |= {"INTERNAL": self._internal_port, "CONTROLLER": self._controllers[self._node_id - 1]}
        addresses = [f"{name}://{HOST}:{port}" for name, port in listeners.items()]
        protocols = [f"{name}:{name if name in self._ports else 'PLAINTEXT'}" for name in listeners]
        replicas, in_sync = str(nodes), str(max(1, nodes - 1))
        return {
            "node.id": str(self._node_id),
            "process.roles": "broker,controller",
            "controller.quorum.voters": ",".join(f"{i}@{HOST}:{p}" for i, p in enumerate(self._controllers, start=1)),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "INTERNAL",
            "listeners": ",".join(addresses),
            "advertised.listeners": ",".join(a for a in addresses if not a.startswith("CONTROLLER")),
            "listener.security.protocol.map": ",".join(protocols),
            "log.dirs": str(self.folder / "data"),
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": "5",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": "5",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "auto.create.topics.enable": "false",
            # of 10 MiB each by default, mapped and zeroed as they are touched: hundreds of partitions cost a broker
            # three times its processor time on the machine these tests were written on
            "log.index.size.max.bytes": str(1024 * 1024),
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "broker.heartbeat.interval.ms": "500",
            "broker.session.timeout.ms": "2000",
            **(listener_properties(self.certificates) if self._secure else {}),
        }

    def start(self, *, wait: bool = True) -> Self:
        """The node answers clients, unless ``wait`` is off. Nothing if it is up. Raises BrokerFailed."""
        if self.pid is not None:
            return self
        if not (self.folder / "data" / "meta.properties").exists():
            self._prepare()
        self._log_before = len(self._log())
        left_over = self.folder / "data" if self._keeps_folder else self.folder
        command = self._command("kafka.Kafka", str(self.folder / "server.properties"))
        with (self.folder / "stdout").open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder, start_new_session=True
            )
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", GUARD, str(self._belongs_to), str(self._process.pid), left_over],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout: float = READY_SECONDS) -> None:
        """Returns when clients are answered, by the node's own word in its log. ``timeout`` in seconds.

        Its ports open a moment before it has its place in the cluster: until then, it knows of no broker.
        """
        deadline = time.monotonic() + timeout
        while STARTED not in self._log()[self._log_before :]:
            if self.pid is None:
                raise BrokerFailed("ended while it was waited for", self.log_end())
            if time.monotonic() > deadline:
                raise BrokerFailed(f"was not ready within {timeout} s", self.log_end())
            time.sleep(0.05)

    def _log(self) -> bytes:
        file = self.folder / "broker.log"
        return file.read_bytes() if file.exists() else b""

    def stop(self) -> None:
        """Ended by SIGTERM: leadership handed over, files closed. Data stays. Nothing if it is down."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ended by SIGKILL, as by a crash. Data stays. Nothing if it is down."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Frozen by SIGSTOP: connections stay open and nothing is answered, on return (at most a second later)."""
        self._send(signal.SIGSTOP)
        ends = time.monotonic() + 1.0
        while self.pid is not None and not _stands_still(self.pid) and time.monotonic() < ends:
            time.sleep(0.01)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def restart(self, *, down_s: float = 0.0, kill: bool = False) -> None:
        """Down for ``down_s`` seconds at least, then ready again with the same ports and data."""
        if kill:
            self.kill()
        else:
            self.stop()
        time.sleep(down_s)
        self.start()

    def close(self) -> None:
        """Ended for good; a folder of its own making is removed."""
        self.kill()
        if not self._keeps_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def log_end(self, size: int = 4000) -> str:
        """The last characters of the node's log and output."""
        out = self.folder / "stdout"
        written = (self._log(), out.read_bytes() if out.exists() else b"")
        return "".join(part[-size:].decode(errors="replace") for part in written)

    def _command(self, *main: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
        return self._runtime.command(self._name, self.folder, (*self._jvm, logging), main)

    def _prepare(self) -> None:
        """The folder has the node's files; its data folder has cluster id, metadata version and users."""
        if self._secure:
            make_certificates(self.certificates)
        file = self.folder / "server.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in self._properties.items()), encoding="utf-8")
        logging = LOGGING.format(file=self.folder / "broker.log")
        (self.folder / "log4j2.properties").write_text(logging, encoding="utf-8")
        users = SCRAM_USERS if self._secure else ()
        command = self._command("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(file), *users)
        done = subprocess.run(command, capture_output=True, text=True, timeout=READY_SECONDS, check=False)
        if done.returncode:
            raise BrokerFailed("could not be formatted", done.stdout + done.stderr)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._runtime.send(self._name, self._process.pid, number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._send(number)
        self._send(signal.SIGCONT)
        try:
            self._process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            self._send(signal.SIGKILL)
            self._process.wait(READY_SECONDS)
            raise BrokerFailed(f"did not end within {READY_SECONDS} s of {number.name}", self.log_end()) from None
        finally:
            self._process = None
            self._guard.kill()
            self._guard.wait(READY_SECONDS)


def _stands_still(pid: int) -> bool:
    """Its threads have got the signal: on a busy machine that takes a moment, in which they still answer."""
    with suppress(OSError):
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0] == "T"
        )
    return True


def warm_up(java: Java) -> None:
    """One node was up and ended in order, so that Java could leave its archive of classes."""
    with Broker(using=java) as node:
        node.stop()


class Cluster:
    """Nodes of one cluster, each broker and controller: what three nodes hold survives the loss of any one.

    Topics have three replicas and ``min.insync.replicas`` 2 unless they say otherwise.
    """

    def __init__(self, *, size: int = 3, properties: Mapping[str, str] | None = None) -> None:
        controllers = tuple(free_port() for _ in range(size))
        self.nodes = [
            Broker(properties=properties, node_id=node_id, controllers=controllers) for node_id in range(1, size + 1)
        ]

    @property
    def bootstrap(self) -> str:
        """The addresses of all nodes, up or not, separated by commas."""
        return ",".join(node.bootstrap for node in self.nodes)

    def start(self) -> Self:
        """Every node answers clients, those that were down again. Raises BrokerFailed."""
        with ThreadPoolExecutor(len(self.nodes)) as threads:
            list(threads.map(lambda node: node.start(wait=False), self.nodes))
        for node in self.nodes:
            node.wait_ready()
        return self

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
