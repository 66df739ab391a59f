"""How fast one lane is: observations/s through ingest and through the lane with everything on, without Kafka.

The same events as :mod:`benchmarks.throughput`; a tick after every 100,000 of them, as if that took a second.

python -m benchmarks.lane [PATIENTS] [OBSERVATIONS]
"""

import gc
import sys
import time
from collections import Counter
from typing import NamedTuple

import msgspec

from benchmarks import load
from stream_twin import events, signals
from stream_twin.ingest import Ingest
from stream_twin.lane import Lane

NOW = 1_760_000_000.0
BATCH = 2000
PER_TICK = 100_000


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int


def records(pairs: list[load.Record]) -> list[Record]:
    return [Record(offset, key, value, round(NOW * 1000)) for offset, (key, value) in enumerate(pairs)]


def main() -> None:
    patients, count = (int(a) for a in (sys.argv[1:] + ["10000", "400000"][len(sys.argv) - 1 :]))
    catalogue = signals.load()
    people = records(list(load.people(map(load.patient, range(patients)), NOW)))
    sources = records(list(load.observations(patients, count, NOW, seed=1)))
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)  # as a worker has it
    ingest, lane = Ingest(catalogue), Lane(0, catalogue)
    log = ingest.run("patient.profiles", 0, people, NOW).inputs
    began, ingested = time.process_time(), 0.0
    for k in range(0, count, BATCH):
        if k % PER_TICK == 0:
            clock = NOW + k / PER_TICK
            log.append((b"", msgspec.json.encode(events.Tick(clock=clock, complete_to=clock))))
        log += ingest.run("wearable.observations", 0, sources[k : k + BATCH], NOW).inputs
    ingested = time.process_time() - began
    entries = [Record(offset, key, value, 0) for offset, (key, value) in enumerate(log)]
    put_out: Counter[str] = Counter()
    began = time.process_time()
    for k in range(0, len(entries), BATCH):
        put_out.update(output.topic for _, output in lane.apply(entries[k : k + BATCH]).outputs)
    took = time.process_time() - began
    looked_at = list(lane.patients)[:200]
    began = time.process_time()
    size = sum(len(lane.snapshot(key)) for key in looked_at) / len(looked_at)
    each_us = (time.process_time() - began) / len(looked_at) * 1e6
    print(
        f"{count} observations of {patients} patients: ingest {ingested / count * 1e6:.2f} us, lane {took / count * 1e6:.2f} us,"
    )
    print(f"both {count / (ingested + took):,.0f}/s; {dict(put_out)}; a snapshot {size:,.0f} bytes in {each_us:.0f} us")


if __name__ == "__main__":
    main()
