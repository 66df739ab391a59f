"""Is the sample that stands for others in a flood one that may? Judged by ingest's rules, from the source records."""

from stream_twin.events import Sample
from stream_twin.ingest.thinning import group_of, may_be_thinned, rank


class Group:
    """Records of one partition for which the sample ``standing`` of the patient ``key`` is in the log."""

    __slots__ = ("_group", "_key", "_left", "_lower", "_others", "_rank", "_strangers", "name")

    def __init__(self, name: str, key: bytes, standing: Sample, others: int) -> None:
        self.name, self._key, self._others, self._left = name, key, others, others
        self._group, self._rank = group_of(standing), rank(standing) if may_be_thinned(standing) else None
        self._lower = 0
        self._strangers = 0

    def came(self, key: bytes, sample: Sample | None) -> None:
        """One of the others, as its source record says it."""
        self._left -= 1
        belongs = sample is not None and may_be_thinned(sample) and (key, group_of(sample)) == (self._key, self._group)
        if self._rank is None or sample is None or not belongs:
            self._strangers += 1
        elif rank(sample) < self._rank:
            self._lower += 1

    def wrong(self) -> str | None:
        """A sentence, or None: it is right, or not all of its records are there any more."""
        device, signal, second = self._group
        if self._strangers:
            return f"{self.name} stands for {self._strangers} records that are not of {signal} of {device} in second {second}"
        if not self._left and self._lower != self._others // 2:
            return f"{self.name} stands for {self._others} others, {self._lower} of them lower: it is not their median"
        return None

    @property
    def judged(self) -> bool:
        return not self._left
