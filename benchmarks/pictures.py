"""Draws the picture of docs/history.md from the simulated ward, without Kafka: python -m benchmarks.pictures"""

import argparse
from pathlib import Path
from typing import NamedTuple

import msgspec
from PIL import Image

from stream_twin import events, signals
from stream_twin.datasets.ward import START, Ward
from stream_twin.ingest import Ingest
from stream_twin.lane import Lane
from stream_twin.lane.chart import Chart
from stream_twin.pictures import Known, picture
from stream_twin.serve.plots import plot_patient

DOCS = Path(__file__).parents[1] / "docs"
PATIENT, PATIENTS, HOURS, AHEAD_S = "home-02", 2, 8.0, 4800.0
"""Of type 1 diabetes, with a night's hypoglycaemia."""
TICK_S = 10.0
COLOURS = 256
"""Enough for what is drawn, with a third of the bytes."""


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int = 0


def known(patient: str, patients: int, hours: float) -> Known:
    """What the log and the alerts say of one patient of the ward after some hours."""
    catalogue, key = signals.load(), patient.encode()
    chart, lane, ingest = Chart(catalogue, key), Lane(0, catalogue), Ingest(catalogue)
    alerts: list[events.AlertChange] = []
    count, tick = 0, START

    def put(key_of: bytes, value: bytes) -> None:
        nonlocal count
        record = Record(count, key_of, value)
        count += 1
        chart.feed(record)
        if key_of in (b"", key):
            outputs = [output for _, output in lane.apply([record]).outputs if (output.topic, output.key) == ("alerts", key)]
            alerts.extend(msgspec.json.decode(output.value, type=events.AlertChange) for output in outputs)

    for sent in Ward(patients, hours=hours):
        while sent.at >= tick + TICK_S:
            tick += TICK_S
            put(b"", msgspec.json.encode(events.Tick(clock=tick, complete_to=tick)))
        record = Record(count, sent.key, sent.value, round(sent.at * 1000))
        for key_of, value in ingest.run(sent.topic, 0, [record], sent.at).inputs:
            put(key_of, value)
    return Known(chart, alerts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("--out", type=Path, default=DOCS / "show.png")
    out = parser.parse_args().out
    of_ward = known(PATIENT, PATIENTS, HOURS)
    now = of_ward.chart.clock
    plot_patient(out, signals.load(), picture(of_ward, now - HOURS * 3600, now, smoothed=False, ahead_s=AHEAD_S))
    drawn = Image.open(out).convert("RGB")
    drawn.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, 4, dither=Image.Dither.NONE).save(out, optimize=True)
    print(out)


if __name__ == "__main__":
    main()
