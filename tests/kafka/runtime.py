"""How a class of Apache Kafka is run here: by Java with the jars of ``pom.xml``, or in a container."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from filelock import FileLock

VERSION: Final = "4.1.0"
POM: Final = Path(__file__).with_name("pom.xml")
FETCH_SECONDS: Final = 600
QUICK: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""3 s to a broker on two cores, 1.6 s with the archive of classes; 5 s with what Java 17 does by itself."""
LASTING: Final = ("-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35")
"""As Kafka's own scripts start a broker; for benchmarks."""


class NoKafka(Exception):
    """There is no way to get a broker on this machine."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"these tests need a real Apache Kafka, and {self.reason}. Any one of three ways will do: "
            "DYNAMICFLOW_TEST_KAFKA=host:port names a running broker (enough for tests that do not stop one); "
            "java (17 or newer) and mvn on the PATH; docker on the PATH with its engine running"
        )


class Runtime(Protocol):
    """Runs the classes of Kafka; files are seen under the same paths as here."""

    def command(self, name: str, folder: Path, options: tuple[str, ...], main: tuple[str, ...]) -> list[str]:
        """The command that runs ``main``, a class and its arguments, as ``name`` with only ``folder`` writable."""

    def send(self, name: str, pid: int, number: signal.Signals) -> None:
        """Sends a signal to what ``command`` started; nothing if it has ended."""


@dataclass(frozen=True)
class Java:
    jars: Path
    archive: str
    """The option of Java that says where its archive of loaded classes (CDS) is, or is to be left at the end."""

    def command(self, name: str, folder: Path, options: tuple[str, ...], main: tuple[str, ...]) -> list[str]:
        return ["java", self.archive, *options, "-cp", f"{self.jars}/*", *main]

    def send(self, name: str, pid: int, number: signal.Signals) -> None:
        os.killpg(pid, number)


@dataclass(frozen=True)
class Docker:
    """Apache's image, on the host's network (Linux). Written from its documentation, never run: there was no engine."""

    image: str = f"apache/kafka:{VERSION}"

    def command(self, name: str, folder: Path, options: tuple[str, ...], main: tuple[str, ...]) -> list[str]:
        user = f"{os.getuid()}:{os.getgid()}"
        run = ["docker", "run", "--rm", "--name", name, "--network", "host", "--user", user, "-v", f"{folder}:{folder}"]
        return [*run, "--entrypoint", "java", self.image, *options, "-cp", "/opt/kafka/libs/*", *main]

    def send(self, name: str, pid: int, number: signal.Signals) -> None:
        subprocess.run(["docker", "kill", "--signal", number.name, name], capture_output=True, check=False)


@cache
def runtime(warm_up: Callable[[Java], None]) -> Runtime:
    """The first way there is on this machine; ``warm_up`` runs a broker once per user. Raises NoKafka."""
    try:
        return cached_java(warm_up)
    except NoKafka as no_java:
        try:
            return pulled_image()
        except NoKafka as no_docker:
            raise NoKafka(f"{no_java.reason}, and {no_docker.reason}") from None


def pulled_image() -> Docker:
    """Docker with the image in its store. Raises NoKafka."""
    if not shutil.which("docker"):
        raise NoKafka("docker is not on the PATH")
    found = Docker()
    for ask in (["image", "inspect"], ["pull", "-q"]):
        done = subprocess.run(["docker", *ask, found.image], capture_output=True, timeout=FETCH_SECONDS, check=False)
        if not done.returncode:
            return found
    raise NoKafka(f"docker does not give {found.image} ({done.stderr.decode().strip()})")


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dynamicflow" / f"kafka-{VERSION}"


def cached_java(warm_up: Callable[[Java], None]) -> Java:
    """Java with Kafka's jars and an archive of its classes, made once per user: 8 s and 43 MB from Maven Central, then
    8 s and 50 MB. Made again if ``pom.xml`` or the place of Java changed, or the last attempt broke off.

    Raises NoKafka.
    """
    if not (shutil.which("java") and shutil.which("mvn")):
        raise NoKafka("java and mvn are not both on the PATH")
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    jars, archive, stamp = folder / "libs", folder / "classes.jsa", folder / "complete"
    place = os.path.realpath(shutil.which("java") or "java")
    wanted = hashlib.sha256(POM.read_bytes() + place.encode()).hexdigest()
    with FileLock(folder / "lock"):
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
            stamp.unlink(missing_ok=True)
            fetch(jars)
            warm_up(Java(jars, f"-XX:ArchiveClassesAtExit={archive}"))
            stamp.write_text(wanted, encoding="utf-8")
    return Java(jars, f"-XX:SharedArchiveFile={archive}")


def fetch(jars: Path) -> None:
    """The folder holds what ``pom.xml`` asks for and nothing else. Raises NoKafka."""
    shutil.rmtree(jars, ignore_errors=True)
    maven = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
    try:
        done = subprocess.run(maven, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise NoKafka(f"mvn did not fetch its jars within {FETCH_SECONDS} s") from error
    if done.returncode:
        raise NoKafka(f"mvn cannot fetch its jars ({(done.stdout + done.stderr).strip()[-2000:]})")
