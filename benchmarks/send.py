"""Sends samples of a ward as they are measured, at a steady rate, in a process of its own.

``python -m benchmarks.send BROKER PREFIX --rate 5000 --calls 20``: samples of all patients in turn, and so many urgent ones a
second. Every sample's ``measured_at`` is the moment of its ``produce()``. Prints how many were sent, and by how much the sender
was late at most: a late sender would not see the worst of the service.
"""

import json
import time
from typing import Annotated

import typer

from benchmarks.load import URGENT, WEARABLE, Values, by_hand, producer, signals_of
from stream_twin.kafka.broker import Broker


def main(
    broker: str,
    prefix: str,
    rate: float = 5000.0,
    seconds: float = 30.0,
    patients: int = 10_000,
    calls: Annotated[float, typer.Option(help="Urgent values a second, among the others.")] = 0.0,
    seed: int = 1,
) -> None:
    values, to, topic = Values(seed), producer(Broker(broker), linger_ms=1), prefix + WEARABLE
    names = [signals_of(number) for number in range(patients)]
    sent = called = 0
    late, began = 0.0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        late = max(late, elapsed - (sent + called) / (rate + calls))
        while called < elapsed * calls:
            key, value = by_hand(called, URGENT, time.time())
            to.produce(topic, value, key)
            called += 1
        due = min(elapsed, seconds) * rate
        while sent < due:
            turn, number = divmod(sent, patients)
            own = names[number]
            key, value = values.observation(number, own[turn % len(own)], time.time(), sent)
            to.produce(topic, value, key)
            sent += 1
        to.poll(0)
        time.sleep(0.001)
    ended = time.time()
    to.flush()
    print(json.dumps({"sent": sent, "called": called, "late_ms": late * 1000, "ended": ended}))


if __name__ == "__main__":
    typer.run(main)
