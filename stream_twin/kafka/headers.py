"""Records whose headers have names that are not UTF-8, which Kafka allows and aiokafka cannot read.

The exception would stop whoever reads that partition, and again after every restart. Nothing here looks at names of headers, so
such a name is read with escapes. This costs nothing until a batch of records fails to decode.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy


class Kept(MemoryRecords):  # type: ignore[misc]  # aiokafka is untyped here
    """What a fetch brought of one partition, with its bytes."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.raw = raw


fetcher.MemoryRecords = Kept


class _Text(bytearray):
    """Bytes whose parts decode in any case."""

    def __getitem__(self, which: Any) -> Any:
        found = super().__getitem__(which)
        return _Text(found) if isinstance(which, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")


class _Batches:
    """Batches from the one on that holds ``offset``, decoded in Python; in the place of :class:`Kept`."""

    def __init__(self, raw: bytes, offset: int) -> None:
        self._batches: list[Any] = []
        walk = _MemoryRecordsPy(raw)
        while walk.has_next():
            batch = _DefaultRecordBatchPy(bytes(walk._next_slice))
            walk.next_batch()
            if batch.next_offset > offset:
                self._batches.append(batch)

    def has_next(self) -> bool:
        return bool(self._batches)

    def next_batch(self) -> Any:
        batch = self._batches.pop(0)
        if not batch.is_control_batch and batch.validate_crc():  # else the fetcher says so
            batch._maybe_uncompress()
            batch._buffer = _Text(batch._buffer)
            batch.validate_crc = lambda: True  # of the bytes as they were before
        return batch


_usual = fetcher.PartitionRecords._unpack_records


def _unpack(records: Any) -> Iterator[Any]:
    try:
        yield from _usual(records)
    except UnicodeDecodeError:
        records._records = _Batches(records._records.raw, records.next_fetch_offset)
        yield from _usual(records)


fetcher.PartitionRecords._unpack_records = _unpack
