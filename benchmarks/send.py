"""Sends samples of a ward as they are measured, at a steady rate, in a process of its own.

``python -m benchmarks.send BROKER PREFIX --rate 5000 --calls 20``: samples of all patients in turn, one of each, and so many
urgent ones a second. ``--together``: all signals of a patient, then those of the next, as devices send them and as a backlog
has them. Every sample's ``measured_at`` is the moment of its ``produce()``. Prints how many were sent, and by how much the
sender was late at most: a late sender would not see the worst of the service.
"""

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from benchmarks.load import URGENT, WEARABLE, Values, by_hand, producer, signals_of
from stream_twin.kafka.broker import Broker


def turns(names: Sequence[Sequence[str]], together: bool) -> Iterator[tuple[int, str]]:
    """Number of the patient and signal of each sample."""
    for turn in itertools.count():
        for number, own in enumerate(names):
            for name in own if together else (own[turn % len(own)],):
                yield number, name


def main(
    broker: str,
    prefix: str,
    rate: float = 5000.0,
    seconds: float = 30.0,
    patients: int = 10_000,
    calls: Annotated[float, typer.Option(help="Urgent values a second, among the others.")] = 0.0,
    together: bool = False,
    seed: int = 1,
) -> None:
    values, to, topic = Values(seed), producer(Broker(broker), linger_ms=1), prefix + WEARABLE
    samples = turns([signals_of(number) for number in range(patients)], together)
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
            number, name = next(samples)
            key, value = values.observation(number, name, time.time(), sent)
            try:
                to.produce(topic, value, key)
            except BufferError:  # the broker takes no more at once; how late that makes the sender is told
                to.poll(0.01)
                to.produce(topic, value, key)
            sent += 1
        to.poll(0)
        time.sleep(0.001)
    ended = time.time()
    to.flush()
    print(json.dumps({"sent": sent, "called": called, "late_ms": late * 1000, "ended": ended}))


if __name__ == "__main__":
    typer.run(main)
