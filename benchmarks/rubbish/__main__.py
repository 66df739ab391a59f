"""``make rubbish``: the decoders under a fuzzer, then a worker on a real Kafka under everything that the catalogue knows.

    python -m benchmarks.rubbish [--short] [--only fuzz,throughput,delay] [--fuzz-s 60] [--broker HOST:PORT]

The report is ``build/reports/rubbish.json``; exit code 1: something was lost, wrong or too slow, and the output names it.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.machine import noted
from benchmarks.report import Result, report
from benchmarks.rubbish import campaign, fuzz
from benchmarks.rubbish.catalogue import KINDS, WAYS
from benchmarks.service import Place
from stream_twin.kafka.broker import Broker
from tests import kafka_broker

LANES = 4
PARTS = ("fuzz", "throughput", "delay")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a minute's worth; times are not judged")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas")
    parser.add_argument("--fuzz-s", type=float, help="how long to fuzz; default 60, or 5 with --short")
    parser.add_argument("--broker", help="an address; default: a broker of its own")
    options = parser.parse_args()
    parts, scale = options.only.split(","), campaign.SHORT if options.short else campaign.Scale()
    if strangers := set(parts) - set(PARTS):
        parser.error(f"--only {', '.join(sorted(strangers))}: there are {', '.join(PARTS)}")
    wrong, rows = (
        Counter[str](),
        [Result("kinds of bad input", "kinds", [len(KINDS)]), Result("ways to be bad", "ways", [len(WAYS)])],
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(noted("rubbish"))
        if "fuzz" in parts:
            rows += fuzz.campaign(options.fuzz_s or (5 if options.short else 60), wrong)
        if {"throughput", "delay"} & set(parts):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rubbish-")))
            address = options.broker or stack.enter_context(kafka_broker.broker()).address
            place = Place(Broker(address), f"rubbish-{time.time():.0f}.", LANES, directory)
            if "throughput" in parts:
                rows += campaign.throughput(place, scale, wrong)
            if "delay" in parts:
                rows += campaign.delay(place._replace(prefix=f"{place.prefix}delay."), scale, wrong)
    for what, count in wrong.most_common(30):
        print(f"{count} times: {what}", file=sys.stderr)
    rows.append(Result("what is lost, wrong or does not add up", "findings", [wrong.total()], 0, at_most=True))
    sys.exit(not report("rubbish", rows))


if __name__ == "__main__":
    main()
