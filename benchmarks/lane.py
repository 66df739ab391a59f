"""How fast one lane is: observations/s through ingest and through the lane with everything on, without Kafka.

python -m benchmarks.lane [PATIENTS] [SECONDS OF THE STREAM]
"""

import gc
import sys
import time
from typing import NamedTuple

import msgspec

from stream_twin import events, signals
from stream_twin.ingest import Ingest
from stream_twin.lane import Lane

CODES = [
    ("8867-4", "/min", 75),
    ("59408-5", "%", 96),
    ("9279-1", "/min", 16),
    ("8310-5", "Cel", 36.8),
    ("8480-6", "mm[Hg]", 125),
    ("8462-4", "mm[Hg]", 78),
]
T0 = 1_760_000_000.0
BATCH = 4000


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int


def stream(patients: int, seconds: int) -> list[Record]:
    encode, records = msgspec.json.encode, []
    for second in range(seconds):
        for number in range(patients):
            key = f"patient-{number}"
            for code, unit, mean in CODES:
                value = round(mean + (hash((second, number, code)) % 100) / 50 - 1, 1)
                message = events.Observation(
                    id=f"{key}-{code}-{second}",
                    patient_id=key,
                    code=code,
                    unit=unit,
                    measured_at=T0 + second + number / patients,
                    value=value,
                    device_id=f"w-{number}",
                )
                records.append(Record(len(records), key.encode(), encode(message), round((T0 + second) * 1000)))
    return records


def main() -> None:
    patients, seconds = (int(a) for a in (sys.argv[1:] + ["1000", "20"][len(sys.argv) - 1 :]))
    catalogue = signals.load()
    sources = stream(patients, seconds)
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)  # as a worker has it
    ingest, lane, log = Ingest(catalogue), Lane(0, catalogue), []
    profiles = [
        Record(
            k,
            f"patient-{k}".encode(),
            msgspec.json.encode(events.Profile(patient_id=f"patient-{k}", valid_from=T0)),
            round(T0 * 1000),
        )
        for k in range(patients)
    ]
    log += ingest.run("patient.profiles", 0, profiles, T0).inputs
    started = time.process_time()
    for k in range(0, len(sources), BATCH):
        log += ingest.run("wearable.observations", 0, sources[k : k + BATCH], T0 + seconds).inputs
    ingested = time.process_time() - started
    entries, per_second = [], patients * len(CODES)
    for k, (key, value) in enumerate(log):
        entries.append(Record(len(entries), key, value, 0))
        if k >= patients and (k - patients) % per_second == 0:
            clock = T0 + (k - patients) // per_second
            entries.append(Record(len(entries), b"", msgspec.json.encode(events.Tick(clock=clock, complete_to=clock)), 0))
    started, counts = time.process_time(), {}
    for k in range(0, len(entries), BATCH):
        for _, output in lane.apply(entries[k : k + BATCH]).outputs:
            counts[output.topic] = counts.get(output.topic, 0) + 1
    took = time.process_time() - started
    started = time.process_time()
    looked_at = list(lane.patients)[:200]
    size = sum(len(lane.snapshot(key)) for key in looked_at) / len(looked_at)
    each_us = (time.process_time() - started) / len(looked_at) * 1e6
    n = len(sources)
    print(f"{n} observations of {patients} patients: ingest {n / ingested:,.0f}/s, lane {n / took:,.0f}/s,")
    print(f"both {n / (ingested + took):,.0f}/s; {counts}; a snapshot {size:,.0f} bytes in {each_us:.0f} us")


if __name__ == "__main__":
    main()
