"""The processes of the service during a campaign, and whether each may end as it did."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from stream_twin.clock import elapsed
from stream_twin.kafka.failures import ExitCode

ROOT = Path(__file__).parents[2]
MAY = frozenset({ExitCode.STOPPED, ExitCode.FENCED, -signal.SIGKILL, -signal.SIGTERM})
"""How a worker may end; everything else is a finding. By SIGTERM itself where Python was not even loaded yet."""
STOPS_WITHIN_S = 8.0
OPTIONS = (
    "--metrics-port 0 --checkpoint-every-s 3 --set lane.estimate_every_s=1 --set lane.example_every_s=60"
    " --set lane.hold_unknown_s=5"
)
NEXT_SCHEMA = ("--schema", "2")
FAULTY = (sys.executable, "-m", "benchmarks.chaos.faulty")


@dataclass
class Worker:
    """One process; ``may``: exit codes that are right for it alone."""

    process: "subprocess.Popen[bytes]"
    directory: Path
    may: frozenset[int]
    started: float = field(default_factory=elapsed)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    @property
    def is_frozen(self) -> bool:
        try:
            return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except OSError:
            return False


class Workers:
    """``addresses``: of the broker, one for each worker's slot. A slot without a worker is left alone by :meth:`revive`.

    Each worker runs in an empty directory of its own. ``may``: how any of them may end. ``upgraded``: slots whose workers are
    of the version with the next schema.
    """

    def __init__(self, addresses: list[str], prefix: str, lanes: int, directory: Path) -> None:
        self.ended: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.may = MAY
        self.upgraded: set[int] = set()
        self.running: dict[int, Worker] = {}
        self._addresses, self._prefix, self._lanes, self._directory, self._count = addresses, prefix, lanes, directory, 0
        for slot in range(len(addresses)):
            self.start(slot)

    def start(self, slot: int, *faults: str, may: Collection[int] = ()) -> Worker:
        """Start a worker in a slot that is free, or whose worker has ended. A slot beyond the addresses takes the last one's."""
        self._count += 1
        directory = self._directory / f"{self._count}-slot-{slot}"
        directory.mkdir(parents=True)
        address = self._addresses[min(slot, len(self._addresses) - 1)]
        where = f"worker --broker {address} --prefix {self._prefix} --group {self._prefix}twin --partition-count {self._lanes}"
        command = [*FAULTY, *(NEXT_SCHEMA if slot in self.upgraded else ()), *faults, "--", *where.split(), *OPTIONS.split()]
        with (directory / "log").open("wb") as output:
            process = subprocess.Popen(
                command, cwd=directory, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=output, stderr=output
            )
        self.running[slot] = Worker(process, directory, frozenset(may))
        return self.running[slot]

    def end(self, slot: int, number: signal.Signals, within_s: float = STOPS_WITHIN_S) -> None:
        """Send a signal that ends the worker, wait until it has, and leave the slot free."""
        worker = self.running[slot]
        worker.send(signal.SIGCONT)
        worker.send(number)
        try:
            worker.process.wait(within_s)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
            self.wrong.append(f"a worker did not stop within {within_s:.0f} s of {number.name}:\n{worker.log[-2500:]}")
        self._ended(slot)

    def revive(self) -> None:
        """What a supervisor does: start again what has ended, without its fault."""
        for slot, worker in list(self.running.items()):
            if worker.process.poll() is not None:
                self._ended(slot)
                self.start(slot)

    def _ended(self, slot: int) -> None:
        worker = self.running.pop(slot)
        code = worker.process.returncode
        self.ended[str(code)] += 1
        log = worker.log
        if code not in worker.may | self.may:
            self.wrong.append(f"a worker ended with {code}:\n{log[-2500:]}")
        elif code == ExitCode.STOPPED and "Traceback" in log.partition("stopping: committing what was done")[2]:
            self.wrong.append(f"a worker stopped, but not without a traceback:\n{log[-2500:]}")
        shutil.rmtree(worker.directory)

    def kill(self) -> None:
        """All of them, without looking."""
        for worker in self.running.values():
            worker.process.kill()
            worker.process.wait()
        self.running.clear()
