"""What a wearable sums up once a day, gathered by the patient's clock for :mod:`stream_twin.alerts.onset`.

A day ends at noon: a night is told in its morning, steps at their midnight, so both are in, and people hear of it by daylight.
"""

from datetime import date, datetime, time, timedelta
from math import inf, isnan
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
SETTLES_S = 3600.0
"""A device that tells several days at once has told them after this."""
DAYS_KEPT, VALUES_KEPT = 30, 48
EPOCH = date(1970, 1, 1)


class Days(Struct, kw_only=True, omit_defaults=True):
    """Of one patient. gathered: by number of the day (1970-01-01 is 0) and signal, (measured at, value). due: when to close what
    is over; inf: nothing is gathered. known: what is usual for the person; told: of the newest closed day."""

    gathered: dict[int, dict[str, list[tuple[float, float]]]] = {}
    due: float = inf
    known: Saved | None = None
    told: OnsetBelief | None = None

    def take(self, signal: str, at: float, value: float, zone: str, now: float) -> None:
        """A sample of one of :data:`NAMES`; of a day that is closed it comes too late. NaN: taken back.

        Args:
            at: when it was measured, or the end of what it sums up. now: ``complete_to`` of the lane.
        """
        local = datetime.fromtimestamp(at, ZoneInfo(zone))
        day = (local.date() - EPOCH).days + (local.time() > NOON)
        if self.known is not None and day <= self.known.day:
            return
        values = self.gathered.setdefault(day, {}).setdefault(signal, [])
        values[:] = [known for known in values if known[0] != at]
        if not isnan(value) and len(values) < VALUES_KEPT:
            values.append((at, value))
        while len(self.gathered) > DAYS_KEPT:
            del self.gathered[min(self.gathered)]
        self.due = max(end_of(min(self.gathered), zone), now + SETTLES_S)

    def close(self, now: float, zone: str) -> None:
        """Judge the days that are over, in order, each once and for good."""
        for day in sorted(self.gathered):
            if end_of(day, zone) > now:
                break
            values = {
                NAMES[signal]: median(value for _, value in found) for signal, found in self.gathered.pop(day).items() if found
            }
            onset = Onset() if self.known is None else Onset.load(self.known)
            night = onset.follow(day, values)
            self.known = onset.save()
            self.told = OnsetBelief(
                date=EPOCH + timedelta(days=day),
                at=end_of(day, zone),
                evidence=night.evidence,
                chance=night.chance,
                days=onset.days_seen,
                values={name: values[name] for name in night.usual},
                usual=night.usual,
            )
        self.due = end_of(min(self.gathered), zone) if self.gathered else inf


def end_of(day: int, zone: str) -> float:
    return datetime.combine(EPOCH + timedelta(days=day), NOON, ZoneInfo(zone)).timestamp()
