"""Batches of records that aiokafka cannot read as it should.

Headers may have names that are not UTF-8: Kafka allows it, and aiokafka raises. Nothing here looks at names of headers, so such a
name is read with escapes. This costs nothing until a batch of records fails to decode.

What cannot be read at all, because a broker's disk has spoilt it or nobody here can unpack it, raises :class:`Unreadable`,
with its place, once everything before it was read.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy


class Unreadable(Exception):
    """The batch that holds ``offset`` of ``tp``; the message says why."""

    def __init__(self, tp: Any, offset: int, cause: BaseException) -> None:
        super().__init__(f"{tp.topic}/{tp.partition} cannot be read at offset {offset}: {type(cause).__name__}: {cause}")
        self.tp, self.offset = tp, offset


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
    start = records.next_fetch_offset
    try:
        try:
            yield from _usual(records)
        except UnicodeDecodeError:
            records._records = _Batches(records._records.raw, records.next_fetch_offset)
            yield from _usual(records)
    except Exception as error:
        if records.next_fetch_offset == start:
            raise Unreadable(records._tp, start, error) from error
        # What came before it is handed over first, and the next fetch begins here.


fetcher.PartitionRecords._unpack_records = _unpack


class Batch(NamedTuple):
    """``offset``: of its last record. ``raw``: as the broker has it. ``error``: why it cannot be read; None: it can."""

    offset: int
    raw: bytes
    error: Unreadable | None


def batch_at(tp: Any, raw: bytes, offset: int) -> Batch | None:
    """The batch that holds ``offset``, in what a fetch brought; None where there is none."""
    walk = _MemoryRecordsPy(raw)
    while walk.has_next():
        own = bytes(walk._next_slice)
        batch = _DefaultRecordBatchPy(own)
        walk.next_batch()
        if batch.base_offset <= offset < batch.next_offset:
            try:
                for _ in fetcher.PartitionRecords(tp, Kept(own), [], offset, None, None, True, 0):
                    pass
            except Unreadable as error:
                return Batch(batch.next_offset - 1, own, error)
            return Batch(batch.next_offset - 1, own, None)
    return None
