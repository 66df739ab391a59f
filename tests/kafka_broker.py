"""A real Apache Kafka of one node on loopback, from Maven's JARs, for tests, benchmarks and trying things out.

python tests/kafka_broker.py [--port 9092] [--dir DIR]     runs until Ctrl-C; prints the address
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

ROOT = Path(__file__).parents[1]
LIBS = ROOT / "build" / "kafka-libs"
POM = ROOT / "tests" / "kafka" / "pom.xml"
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
"""


def missing() -> str | None:
    """Why no broker can be started here, or None."""
    for program in ("java", "mvn"):
        if program == "mvn" and LIBS.exists():
            continue
        if shutil.which(program) is None:
            return f"{program} is not installed, and KAFKA_BOOTSTRAP names no broker"
    return None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class KafkaBroker:
    """One node; its data lie in ``directory`` and survive :meth:`stop` and :meth:`kill`.

    ``proxied``: a second port to listen at, and the port of a proxy that whoever comes in there is told to come back to.
    """

    def __init__(
        self, directory: Path, port: int | None = None, heap: str = "768m", proxied: tuple[int, int] | None = None
    ) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._heap = heap
        self._proxied = proxied
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers. Raises RuntimeError, with the end of its log, when it does not within 60 s."""
        _fetch_libs()
        properties = self.directory / "server.properties"
        if not properties.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            listeners, advertised = (f",PROXIED://127.0.0.1:{port}" for port in self._proxied) if self._proxied else ("", "")
            properties.write_text(
                PROPERTIES.format(
                    port=self.port,
                    controller=free_port(),
                    data=self.directory / "data",
                    listeners=listeners,
                    advertised=advertised,
                )
            )
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "a")
            self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties)).wait(60)
        self._process = self._java("kafka.Kafka", str(properties))
        admin, deadline = AdminClient({"bootstrap.servers": self.address, "log_level": 0}), time.monotonic() + 60
        while True:
            with contextlib.suppress(KafkaException):
                admin.list_topics(timeout=1)
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Kafka did not start:\n{(self.directory / 'log').read_text()[-2000:]}")

    def _java(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.directory / "log").open("ab") as output:
            java = ["java", f"-Xmx{self._heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=4", "-cp", f"{LIBS}/*"]
            return subprocess.Popen([*java, *command], stdout=output, stderr=output, start_new_session=True)

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def kill(self) -> None:
        self.stop(signal.SIGKILL)


def _fetch_libs() -> None:
    if not LIBS.exists():
        partial = LIBS.with_name(f"{LIBS.name}.{os.getpid()}")
        goal = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
        subprocess.run(goal, check=True)
        try:
            partial.rename(LIBS)
        except OSError:  # another process was first
            shutil.rmtree(partial)


@contextlib.contextmanager
def broker(directory: Path | None = None, port: int | None = None) -> Iterator[KafkaBroker]:
    """A broker for as long as the context lasts; without ``directory`` its data go with it."""
    with contextlib.ExitStack() as stack:
        place = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kafka-")))
        running = KafkaBroker(place, port)
        stack.callback(running.stop)
        running.start()
        yield running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--dir", type=Path, help="keep the data here; default: a directory that goes with the broker")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with contextlib.suppress(KeyboardInterrupt), broker(options.dir, options.port) as running:
        print(running.address, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
