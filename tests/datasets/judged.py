"""What the service's first stage makes of a stream of messages, each read at the moment when it was sent."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from stream_twin import signals
from stream_twin.datasets.recording import Sent
from stream_twin.ingest.ingest import Ingest


class _Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int


class Judged(NamedTuple):
    accepted: Counter[str]
    """By topic."""
    refused: Counter[str]
    """By reason."""
    details: list[str]


def judge(stream: Iterable[Sent]) -> Judged:
    """Also demands that the stream is in order."""
    ingest = Ingest(signals.load())
    judged = Judged(Counter(), Counter(), [])
    before = float("-inf")
    for number, (at, topic, key, value) in enumerate(stream):
        assert at >= before, f"record {number} of {topic} goes back by {before - at} s"
        before = at
        result = ingest.run(topic, 0, [_Record(number, key, value, int(at * 1000))], at)
        assert len(result.inputs) + len(result.rejected) == 1
        if result.inputs:
            judged.accepted[topic] += 1
        for letter in result.rejected:
            headers = dict(letter.headers)
            judged.refused[headers["reason"].decode()] += 1
            judged.details.append(headers["detail"].decode())
            assert letter.key == key
            assert letter.value == value, "a dead letter keeps the bytes"
    return judged


def bodies(stream: Iterable[Sent], topic: str | None = None, **fields: Any) -> list[dict[str, Any]]:
    """Messages of a topic whose fields are these."""
    decoded = [msgspec.json.decode(sent.value) for sent in stream if topic in (None, sent.topic)]
    return [body for body in decoded if all(body.get(name) == value for name, value in fields.items())]
