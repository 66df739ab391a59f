"""Dead letters of records that the pure stages never see, or made too large an input of."""

from typing import Any

import msgspec

from stream_twin.events import Output
from stream_twin.kafka.outbox import DEAD_LETTERS


def dead_letter(topic: str, partition: int, record: Any, reason: str, detail: str, stage: str) -> Output:
    """Of a source record that the edge itself refuses."""
    headers = {"reason": reason, "detail": detail, "stage": stage, "topic": topic, "partition": partition}
    headers |= {"offset": record.offset, "at": record.timestamp}
    encoded = tuple((name, str(value).encode()) for name, value in headers.items())
    return Output(DEAD_LETTERS, record.key or b"", record.value or b"", encoded)


def too_large(topic: str, partition: int, records: list[Any], value: bytes) -> list[Output]:
    """The dead letters of those among ``records`` that became the input ``value``."""
    offsets = _made_of(value).offsets()
    detail = f"its input would be {len(value)} bytes, more than twin.inputs takes: send it in parts"
    return [dead_letter(topic, partition, one, "too_large", detail, "ingest") for one in records if one.offset in offsets]


class _Sample(msgspec.Struct, array_like=True):
    offset: int


class _MadeOf(msgspec.Struct):
    """Of an input, where it came from: topic, partition, offset; or of each of its samples the offset."""

    source: tuple[str, int, int] | None = None
    samples: list[_Sample] = []
    thinned: dict[int, list[int]] = {}

    def offsets(self) -> set[int]:
        if self.source is not None:
            return {self.source[2]}
        return {sample.offset for sample in self.samples}.union(*self.thinned.values())


_made_of = msgspec.json.Decoder(_MadeOf).decode
