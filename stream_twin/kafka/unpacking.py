"""Batches of records as a fetch brings them, unpacked by aiokafka's decoder, a whole batch at a time.

aiokafka itself takes four calls of Python for each record and makes a second object of it, with the topic and ten fields more:
three times what decoding takes. All consumers of this process read by partition and want none of that. They get records as the
decoder made them, with offset, timestamp, key, value and headers.

Headers may have names that are not UTF-8: Kafka allows it, and aiokafka raises. Nothing here looks at names of headers, so such a
name is read with escapes. What cannot be read at all, because a broker's disk has spoilt it or nobody here can unpack it, raises
:class:`Unreadable`, with its place, once everything before it was read.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
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


class _Text(bytearray):
    """Bytes whose parts decode in any case."""

    def __getitem__(self, which: Any) -> Any:
        found = super().__getitem__(which)
        return _Text(found) if isinstance(which, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return super().decode(encoding, "backslashreplace")


def _batches(raw: bytes) -> Iterator[tuple[Any, bytes]]:
    """Batches, decoded in Python, and their bytes."""
    walk = _MemoryRecordsPy(raw)
    while walk.has_next():
        own = bytes(walk._next_slice)
        walk.next_batch()
        yield _DefaultRecordBatchPy(own), own


def _with_escapes(raw: bytes, offset: int) -> list[Any]:
    """Records of the batch in ``raw`` that begins at ``offset``."""
    batch = next(batch for batch, _ in _batches(raw) if batch.base_offset == offset)
    batch._maybe_uncompress()
    batch._buffer = _Text(batch._buffer)
    return list(batch)


class Records(fetcher.PartitionRecords):  # type: ignore[misc]
    """Records of one partition from ``next_fetch_offset`` on, which moves on by batches."""

    next_fetch_offset: int

    def __iter__(self) -> Iterator[Any]:
        records: Iterator[Any] = self._records_iterator
        return records

    def _unpack_records(self) -> Iterator[Any]:
        first = self.next_fetch_offset
        try:
            while self._records.has_next():
                batch = self._records.next_batch()
                yield from self._of(batch)
                self.next_fetch_offset = batch.next_offset
        except Exception as error:
            if self.next_fetch_offset == first:
                raise Unreadable(self._tp, first, error) from error
            # What came before it is handed over first, and the next fetch begins here.

    def _of(self, batch: Any) -> list[Any]:
        if self._check_crcs and not batch.validate_crc():
            raise CorruptRecordException("its checksum is wrong")
        if self._is_aborted(batch) or batch.is_control_batch:
            return []
        try:
            records = list(batch)
        except UnicodeDecodeError:
            records = _with_escapes(self._records.raw, batch.base_offset)
        if records and records[0].offset < self.next_fetch_offset:
            return [record for record in records if record.offset >= self.next_fetch_offset]
        return records

    def _is_aborted(self, batch: Any) -> bool:
        if self._isolation_level != fetcher.READ_COMMITTED or batch.producer_id is None:
            return False
        self._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and self._contains_abort_marker(batch):
            self._aborted_producers.discard(batch.producer_id)
        return batch.is_transactional and batch.producer_id in self._aborted_producers


class Fetched(fetcher.FetchResult):  # type: ignore[misc]
    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        records = self._partition_records
        taken = list(islice(records, max_records))
        is_over = max_records is None or len(taken) < max_records
        if not is_over:  # perhaps in the middle of a batch
            records.next_fetch_offset = taken[-1].offset + 1
        self._update_position()
        if is_over:
            self._partition_records = None
        return taken


fetcher.MemoryRecords, fetcher.PartitionRecords, fetcher.FetchResult = Kept, Records, Fetched


class Batch(NamedTuple):
    """``offset``: of its last record. ``raw``: as the broker has it. ``error``: why it cannot be read; None: it can."""

    offset: int
    raw: bytes
    error: Unreadable | None


def batch_at(tp: Any, raw: bytes, offset: int) -> Batch | None:
    """The batch that holds ``offset``, in what a fetch brought; None where there is none."""
    for batch, own in _batches(raw):
        if batch.base_offset <= offset < batch.next_offset:
            try:
                list(Records(tp, Kept(own), [], offset, None, None, True, 0))
            except Unreadable as error:
                return Batch(batch.next_offset - 1, own, error)
            return Batch(batch.next_offset - 1, own, None)
    return None
