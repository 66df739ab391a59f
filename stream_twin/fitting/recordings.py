"""Recorded people as arrays: what the service's own ingest makes of a data set's messages, in canonical units."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_twin import events
from stream_twin.datasets.recording import DataSet
from stream_twin.ingest import Ingest
from stream_twin.signals import Catalogue

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FINER = 3
SIDES: dict[str | None, int] = {None: 0, "<": -1, "<=": -1, ">": 1, ">=": 1}


class Recorded(NamedTuple):
    """One person's samples in order of time; those of one moment in the order in which they were sent.

    ``times`` (T,) seconds UTC; ``signals`` (T,) places in ``names``; ``values`` (T,) canonical units; ``sides`` (T,): -1 where
    the true value is below, 1 where it is above what is given (comparators), else 0.
    """

    person: str
    names: tuple[str, ...]
    times: Floats
    signals: Ints
    values: Floats
    sides: Ints
    sex: str | None
    age_years: float | None
    """None where it is unknown or only a range."""

    def only(self, names: Iterable[str]) -> "Recorded":
        """With the samples of some signals alone; ``names`` becomes what is asked for."""
        wanted = tuple(names)
        place = np.array([wanted.index(name) if name in wanted else -1 for name in self.names] or [-1])
        signals = place[self.signals]
        kept = signals >= 0
        return self._replace(
            names=wanted, times=self.times[kept], signals=signals[kept], values=self.values[kept], sides=self.sides[kept]
        )

    def first(self, days: int) -> "Recorded":
        """Of the first days only."""
        kept = self.times < self.times[:1].sum() + 86400.0 * days
        return self._replace(times=self.times[kept], signals=self.signals[kept], values=self.values[kept], sides=self.sides[kept])

    def steps(self, decimals: Mapping[str, int]) -> Floats:
        """(T,) to what each sample is rounded: a display step, or a 10th, 100th, 1000th, what fits all of its signal."""
        found = np.empty(len(self.times))
        for k, name in enumerate(self.names):
            here = self.signals == k
            for digits in range(decimals[name], decimals[name] + FINER + 1):
                scaled = self.values[here] * 10.0**digits
                if np.all(np.abs(scaled - np.round(scaled)) < 1e-6 * np.maximum(1.0, np.abs(scaled))):
                    break
            found[here] = 10.0**-digits
        return found


class _Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


class Reader:
    """Reads people of a data set through ingest, so that fitting sees exactly what the twin sees."""

    def __init__(self, dataset: DataSet, path: Path, catalogue: Catalogue) -> None:
        self._dataset, self._path = dataset, path
        self._ingest = Ingest(catalogue)
        self._decode = msgspec.json.Decoder(events.AnyInput).decode

    def read(self, person: str) -> Recorded:
        """A reading that is sent again under its id counts once, by its highest version; a retraction takes it away."""
        found: dict[str, tuple[int, float, int, str, float | None, int]] = {}
        sex, age, number = None, None, 0
        stream = self._dataset.events(self._path, person, 0.0)
        for (at, topic), group in groupby(stream, key=lambda sent: (sent.at, sent.topic)):
            records = [_Record(number + n, sent.key, sent.value, int(sent.at * 1000)) for n, sent in enumerate(group)]
            number += len(records)
            for _, value in self._ingest.run(topic, 0, records, at).inputs:
                body: Any = self._decode(value)
                if isinstance(body, events.ProfileSet):
                    sex, age = body.profile.sex or sex, body.profile.age_years or age
                for place, sample in enumerate(_samples(body)):
                    if sample.id not in found or found[sample.id][0] < sample.version:
                        kept = None if sample.retracted else sample.value
                        side = SIDES[sample.comparator]
                        found[sample.id] = (sample.version, sample.at, number + place, sample.signal, kept, side)
        rows = sorted((row[1:] for row in found.values() if row[4] is not None), key=lambda row: row[:2])
        names = tuple(sorted({row[2] for row in rows}))
        return Recorded(
            person,
            names,
            np.array([row[0] for row in rows]),
            np.array([names.index(row[2]) for row in rows], np.int64),
            np.array([row[3] for row in rows], float),
            np.array([row[4] for row in rows], np.int64),
            sex,
            age,
        )


def _samples(body: Any) -> Iterator[events.Sample]:
    if isinstance(body, events.Samples):
        yield from body.samples
    elif isinstance(body, events.SampleSeries):
        for n, (at, value) in enumerate(zip(body.at, body.values, strict=True)):
            yield events.Sample(
                0, 0.0, msgspec.Raw(), f"{body.id}#{n}", body.signal, at, value, version=body.version, retracted=body.retracted
            )
