"""Workers under faults in random order, with an audit after each: nothing lost, nothing twice, every state byte-equal.

    python -m benchmarks.chaos [--rounds 200] [--seed N] [--rate 150] [--only FAULT]

Three workers of the service on a broker of the campaign's own, one of them behind a proxy, with a load of every source topic.
A round is one fault of :data:`benchmarks.chaos.faults.FAULTS`; then everything that was sent must be worked off, and
``stream-twin audit`` must hold. Every ten rounds new topics begin, so that audits stay short. The same seed gives the same
faults in the same order. What was found wrong is printed, and stays in ``build/reports/chaos/`` with the workers' logs.
"""

import argparse
import random
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.chaos.faults import FAULTS, UPGRADE, broker_killed, nobody, order, upgraded
from benchmarks.chaos.scene import Scene, stage
from benchmarks.report import DIRECTORY, Result, report
from stream_twin.clock import elapsed

EPOCH = 10
LONG_FROM_ROUNDS = 100
NOBODY_S, BROKER_AWAY_S = 600.0, 120.0


class Campaign:
    """``long``: once each, ten minutes without a worker and two without a broker."""

    def __init__(self, names: list[str], rate: float, seed: int, epoch: int, long: bool) -> None:
        self.names, self._rate, self._epoch = names, rate, epoch
        self.draws = random.Random(seed)
        self.settled: dict[str, list[float]] = defaultdict(list)
        """Seconds from the end of a fault until all that had been sent was worked off, by kind of fault."""
        self.ended: Counter[str] = Counter()
        self.audits = 0
        self.counts: Counter[str] = Counter()
        self.offenders: Counter[str] = Counter()
        """By check of the audit."""
        self.wrong: list[str] = []
        self._long = {"no worker": NOBODY_S, "broker SIGKILL": BROKER_AWAY_S} if long else {}

    def run(self, directory: Path) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with stage(directory) as (kafka, proxy), Progress(*columns, console=Console(width=120)) as progress:
            bar = progress.add_task("chaos", total=len(self.names))
            for first in range(0, len(self.names), self._epoch):
                names = self.names[first : first + self._epoch]
                scene = Scene(
                    kafka, proxy, f"chaos-{first // self._epoch}.", self._rate, self.draws, directory / f"epoch-{first}"
                )
                try:
                    scene.settle()
                    self._note(scene, first, "start")
                    for number, name in enumerate(names, first + 1):
                        began = elapsed()
                        self._fault(scene, name)
                        settled = scene.settle()
                        rows = scene.audit()
                        self.settled[name].append(settled)
                        self._count(rows, Counter())
                        held = self._note(scene, number, name)
                        progress.console.print(
                            f"{number:4} {name:32} worked off after {settled:4.1f} s, {elapsed() - began:5.1f} s in all,"
                            f" {rows[0]['counted'] if rows else 0:7,} records: {held}",
                            highlight=False,
                        )
                        progress.advance(bar)
                    scene.finish()
                    self._count(scene.audit(final=True), self.counts)
                    self.counts["records sent"] += scene.load.sent
                    for how, count in scene.rebuilding.ended.items():
                        self.counts[f"rebuilds {how}"] += count
                    self._note(scene, first + len(names), "end")
                finally:
                    scene.close()
                    self.ended += scene.workers.ended

    @property
    def rounds(self) -> int:
        """How many are done."""
        return sum(map(len, self.settled.values()))

    def _fault(self, scene: Scene, name: str) -> None:
        if name == UPGRADE:
            upgraded(scene)
        elif name in self._long:
            {"no worker": nobody, "broker SIGKILL": broker_killed}[name](scene, self._long.pop(name))
        else:
            FAULTS[name](scene)

    def _count(self, rows: list[dict[str, Any]], counts: Counter[str]) -> None:
        self.audits += 1
        for row in rows:
            if not row["name"].startswith("dead letters, "):
                counts[row["name"]] += row["counted"]
            if row["ok"] is not None:
                self.offenders[row["name"]] += row["wrong"]

    def _note(self, scene: Scene, number: int, name: str) -> str:
        """Take over what is wrong; each is said once."""
        new = scene.wrong + scene.workers.wrong
        if new:
            kept = DIRECTORY / "chaos" / f"round-{number}"
            kept.mkdir(parents=True, exist_ok=True)
            (kept / "wrong.txt").write_text("\n\n".join(new) + "\n")
            for slot, worker in scene.workers.running.items():
                (kept / f"slot-{slot}.log").write_text(worker.log)
            self.wrong += [f"round {number}, {name}: {sentence}" for sentence in new]
        scene.wrong, scene.workers.wrong = [], []
        return "WRONG: " + new[0].splitlines()[0] if new else "holds"

    def results(self, took_s: float) -> list[Result]:
        faults = [
            Result(f"{name}: worked off after", f"s, {len(values)} times", values)
            for name, values in sorted(self.settled.items())
        ]
        return [
            Result("rounds", "rounds", [self.rounds]),
            Result("findings", "findings", [len(self.wrong)], 0, at_most=True),
            Result("audits", "audits", [self.audits]),
            *(Result(f"audit: {name}", "do not", [wrong], 0, at_most=True) for name, wrong in self.offenders.items()),
            *(Result(name, "records", [count]) for name, count in self.counts.items()),
            *(Result(f"workers that ended with {code}", "workers", [count]) for code, count in sorted(self.ended.items())),
            *faults,
            Result("campaign", "s", [took_s]),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--rate", type=float, default=150, help="records a second")
    parser.add_argument("--epoch", type=int, default=EPOCH, help="rounds on the same topics")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--only", action="append", choices=[*FAULTS, UPGRADE], help="this fault only; may be given again")
    about_long = f"ten minutes without a worker and two without a broker, once each; always from {LONG_FROM_ROUNDS} rounds on"
    parser.add_argument("--long", action="store_true", help=about_long)
    options = parser.parse_args()
    names = order(random.Random(options.seed), options.rounds, options.epoch)
    if options.only:
        names = [options.only[number % len(options.only)] for number in range(options.rounds)]
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever ends a campaign early gets a report of what was done
        signal.signal(number, signal.default_int_handler)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a file is watched as it grows
    print(f"{options.rounds} rounds, seed {options.seed}", flush=True)
    long = options.long or options.rounds >= LONG_FROM_ROUNDS
    campaign, began = Campaign(names, options.rate, options.seed, options.epoch, long), elapsed()
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        try:
            campaign.run(Path(directory))
        except KeyboardInterrupt:
            print(f"interrupted after {campaign.rounds} rounds", file=sys.stderr)
        finally:
            for finding in campaign.wrong:
                print(finding, file=sys.stderr)
    met = report("chaos", campaign.results(elapsed() - began))
    rounds = {"seed": options.seed, "rounds": campaign.rounds, "settled_s": dict(campaign.settled)}
    (DIRECTORY / "chaos-rounds.json").write_bytes(msgspec.json.format(msgspec.json.encode(rounds)))
    sys.exit(not met)


if __name__ == "__main__":
    main()
