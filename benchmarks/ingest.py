"""How fast ingest is, alone: ``python benchmarks/ingest.py``. Records in memory, seconds of processor time."""

import json
import statistics
import time
from typing import NamedTuple

from stream_twin.ingest import Ingest
from stream_twin.signals import load

NOW = 1_800_000_000.0
RECORDS = 20_000
SAMPLES = 1_000
REPEATS = 7


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int


def observations() -> list[Record]:
    made = []
    for i in range(RECORDS):
        body = {"type": "observation", "id": f"w-{i}", "patient_id": f"patient-{i % 500:04}", "code": "8867-4", "unit": "/min",
                "value": 60 + i % 40, "measured_at": NOW - RECORDS + i, "device_id": f"watch-{i % 500:04}"}  # fmt: skip
        made.append(Record(i, body["patient_id"].encode(), json.dumps(body).encode(), int((NOW - RECORDS + i) * 1000)))
    return made


def series() -> list[Record]:
    made = []
    for i in range(RECORDS // 200):
        body = {"type": "series", "id": f"s-{i}", "patient_id": f"patient-{i:04}", "code": "99504-3", "unit": "mmol/L",
                "values": [5 + k % 50 / 10 for k in range(SAMPLES)], "start": NOW - 300 * SAMPLES, "interval_s": 300}  # fmt: skip
        made.append(Record(i, body["patient_id"].encode(), json.dumps(body).encode(), int(NOW * 1000)))
    return made


def rubbish() -> list[Record]:
    return [
        Record(i, b"p", b'{"type": "observation", "id": "a", "patient_id": "p", "value": NaN}', int(NOW * 1000))
        for i in range(RECORDS)
    ]


def rate(records: list[Record], per_record: int) -> tuple[float, float, float]:
    ingest = Ingest(load())
    rates = []
    for _ in range(REPEATS):
        start = time.process_time()
        for first in range(0, len(records), 500):
            ingest.run("wearable.observations", 0, records[first : first + 500], NOW)
        rates.append(len(records) * per_record / (time.process_time() - start))
    return min(rates), statistics.median(rates), max(rates)


def main() -> None:
    for name, records, per_record in (
        ("observations", observations(), 1),
        ("samples in series", series(), SAMPLES),
        ("refused records", rubbish(), 1),
    ):
        low, median, high = rate(records, per_record)
        print(f"{name:18} {median:12,.0f}/s   ({low:,.0f} to {high:,.0f})   {1e6 / median:.2f} us each")


if __name__ == "__main__":
    main()
