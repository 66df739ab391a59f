"""What a wearable sums up once a day, by the patient's clock, for :mod:`stream_twin.alerts.onset`.

A day ends at noon: a night is told in its morning, steps at their midnight, so both are in, and people hear of it by daylight.
Each day is judged once, for good, when it is over and something of it is known.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from math import ceil, inf
from operator import itemgetter
from statistics import median
from zoneinfo import ZoneInfo

from msgspec import Struct

from stream_twin.alerts.onset import Onset, Saved
from stream_twin.twin.belief import OnsetBelief

NAMES = {
    "resting_heart_rate": "resting_heart_rate",
    "rmssd": "rmssd",
    "breathing_rate": "breathing_rate",
    "skin_temperature_deviation": "skin_temperature_deviation",
    "sleep_minutes": "sleep",
    "steps_daily": "steps",
}
"""Signals of the catalogue, and what they are called in :data:`stream_twin.alerts.onset.SIGNALS`."""
NOON = time(12)
WAITS_S = 3600.0
"""For a device that has told nothing of a day that is over."""
LONGEST_WAIT_S = 86400.0
SPREAD_S = 3600
"""So long after noon all patients are judged, each at a time of their own: half a millisecond each would hold up a lane."""
SLOT_S = 900.0
"""Of a device that says more often how a day was, the last value of each quarter of an hour counts."""
KEPT = 1000
"""Values of a signal, of days that are not judged yet."""
EPOCH = date(1970, 1, 1)
Kept = dict[int, tuple[float, float, str | None]]
"""Of a signal by slot: measured at, value, device."""


class Days(Struct, kw_only=True, omit_defaults=True):
    """Of one patient. day: the number (1970-01-01 is 0) of the day that is awaited, from ``start`` to ``end``; both inf without
    a time zone. due: value of ``complete_to`` at which to judge it, ``delay_s`` after its end at the earliest. known: what is
    usual; told: of the newest judged day. kept: by signal what is settled of it and of days after it."""

    delay_s: float = 0.0
    zone: str | None = None
    day: int = 0
    start: float = inf
    end: float = inf
    due: float = inf
    known: Saved | None = None
    told: OnsetBelief | None = None
    kept: dict[str, Kept] = {}

    def watch(self, zone: str | None, now: float) -> None:
        """Await the day before the one that ``now`` is in, which may have just been told, by the clock of another zone."""
        self.zone = zone
        if zone is None:
            self.start = self.end = self.due = inf
            self.kept = {}
            return
        local = datetime.fromtimestamp(now, ZoneInfo(zone))
        before = (local.date() - EPOCH).days + (local.time() >= NOON) - 1
        self._await(before if self.known is None else max(before, self.known.day + 1))
        self.due = max(self.due, now + WAITS_S)

    def _await(self, day: int) -> None:
        assert self.zone is not None
        self.day, self.start, self.end = day, noon(day - 1, self.zone), noon(day, self.zone)
        self.due = self.end + self.delay_s
        self.kept = {name: _after(self.start, kept) for name, kept in self.kept.items()}

    def keep(self, signal: str, device: str | None, samples: Iterable[tuple[float, float]]) -> None:
        """Remember what is settled, (measured at, value), of one of :data:`NAMES`; the same twice is as once."""
        kept = self.kept.setdefault(signal, {})
        for at, value in samples:
            slot = ceil(at / SLOT_S)
            if at > self.start and value == value and (slot not in kept or at >= kept[slot][0]):  # noqa: PLR0124  # not NaN
                kept[slot] = at, value, device
        while len(kept) > KEPT:
            del kept[min(kept)]

    def found(self, more: Iterable[tuple[str, str | None, Sequence[tuple[float, float]]]]) -> dict[str, list[float]]:
        """What was measured in the awaited day by the device that measured last in it, by signal.

        Args:
            more: signal, device and samples that are not settled yet.
        """
        all_ = Days(start=self.start, kept={name: dict(kept) for name, kept in self.kept.items()})
        for signal, device, samples in more:
            all_.keep(signal, device, [(at, value) for at, value in samples if at <= self.end])
        found = {}
        for signal, kept in all_.kept.items():
            own = [entry for entry in kept.values() if entry[0] <= self.end]
            if own:
                device = max(own, key=itemgetter(0))[2]
                found[signal] = [value for _, value, name in own if name == device]
        return found

    def close(self, found: Mapping[str, Sequence[float]], now: float) -> None:
        """The awaited day is due: judge it, or wait for what its devices have not told yet.

        Args:
            found: see :meth:`found`; of each signal the median counts.
            now: ``complete_to`` of the lane.
        """
        values = {NAMES[signal]: median(several) for signal, several in found.items() if several}
        if not values and now < self.end + LONGEST_WAIT_S:
            self.due = min(now + WAITS_S, self.end + LONGEST_WAIT_S)
            return
        if values:
            onset = Onset() if self.known is None else Onset.load(self.known)
            night = onset.follow(self.day, values)
            self.known = onset.save()
            self.told = OnsetBelief(
                date=EPOCH + timedelta(days=self.day),
                at=self.end,
                evidence=night.evidence,
                chance=night.chance,
                days=onset.days_seen,
                values={name: values[name] for name in night.usual},
                usual=night.usual,
            )
        self._await(self.day + 1)


def _after(start: float, kept: Kept) -> Kept:
    return {slot: entry for slot, entry in kept.items() if entry[0] > start}


def noon(day: int, zone: str) -> float:
    return datetime.combine(EPOCH + timedelta(days=day), NOON, ZoneInfo(zone)).timestamp()
