"""Resting heart rates of nights, as NightSignal wants them: measured from 00:00 to 06:59 by the patient's clock, at rest.

A night is gathered in slots of five minutes while its samples are settled, and closed in the morning: once, for good.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from math import inf
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from stream_twin.alerts.nightsignal import Night, newest
from stream_twin.twin.belief import NightBelief

HEART = "heart_rate"
STEPS = frozenset({"steps", "steps_per_minute"})
SIGNALS = frozenset({HEART, *STEPS})
SLOT_S = 300.0
"""A slot in which steps were counted is not at rest."""
FIRST_HOUR, LAST_HOUR = 0, 7
"""By the patient's clock; the night ends before the last."""
WAITS_S = 120.0
"""After its end, for what is on its way."""
WAITS_AGAIN_S = 900.0
"""For a device that has not sent all of it."""


class Nights(Struct, kw_only=True, omit_defaults=True):
    """Of one patient. ``start``, ``end``: of the night that is gathered; both inf without a time zone.

    sums, counts: heart rates by slot, float64 and int32; nothing until the first one comes. walked: slots with steps. first:
    ordinal of the date of the first recorded night; rates: of each date since, 0 where it was not recorded. told: the newest
    night, with the level that was told then. due: value of ``complete_to`` at which to close the night.
    """

    zone: str | None = None
    start: float = inf
    end: float = inf
    due: float = inf
    sums: bytearray = msgspec.field(default_factory=bytearray)
    counts: bytearray = msgspec.field(default_factory=bytearray)
    walked: list[int] = []
    first: int = 0
    rates: bytes = b""
    told: NightBelief | None = None

    def watch(self, zone: str | None, now: float) -> None:
        """Gather the night that ``now`` is in, or the next one, by the clock of another zone from now on."""
        self.zone = zone
        if zone is None:
            self._gather(inf, inf)
            return
        day = datetime.fromtimestamp(now, ZoneInfo(zone)).date()
        if window(day, zone)[1] <= now:
            day += timedelta(days=1)
        self._gather(*window(day, zone))

    def _gather(self, start: float, end: float) -> None:
        self.start, self.end, self.due = start, end, end + WAITS_S
        self.sums, self.counts, self.walked = bytearray(), bytearray(), []

    def take(self, signal: str, samples: Iterable[tuple[float, float]], period_s: float = 0.0) -> None:
        """Samples, (measured at, value), of one of :data:`SIGNALS`: each once, and of any time.

        Args:
            period_s: over which steps are counted, where they say.
        """
        start, end = self.start, self.end
        for at, value in samples:
            if not start <= at < end or value != value:  # noqa: PLR0124  # NaN: taken back
                continue
            slot = int((at - start) / SLOT_S)
            if signal == HEART:
                if not self.sums:
                    slots = round((end - start) / SLOT_S)
                    self.sums, self.counts = bytearray(8 * slots), bytearray(4 * slots)
                memoryview(self.sums).cast("d")[slot] += value
                memoryview(self.counts).cast("i")[slot] += 1
            elif value > 0:
                first = max(0, int((at - max(period_s, 1.0) - start) // SLOT_S))
                self.walked += [number for number in range(first, slot + 1) if number not in self.walked]

    def close(self) -> bool:
        """End the night that is gathered, and begin the next one. -> Whether a level was told."""
        if self.zone is None:
            return False
        night, end = datetime.fromtimestamp(self.start, ZoneInfo(self.zone)).date(), self.end
        sums, counts = memoryview(self.sums).cast("d"), memoryview(self.counts).cast("i")
        still = [slot for slot in range(len(counts)) if slot not in self.walked]
        count = sum(counts[slot] for slot in still)
        rate = sum(sums[slot] for slot in still) / count if count else 0.0
        del sums, counts
        self._gather(*window(night + timedelta(days=1), self.zone))
        if not count:
            return False
        self._record(night, int(rate))
        told = self._judged()
        self.told = NightBelief(night, end, told.rate, told.baseline, told.level, len(self.rates) - self.rates.count(0))
        return True

    def _record(self, night: date, rate: int) -> None:
        ordinal = night.toordinal()
        if not self.rates:
            self.first = ordinal
        gap = ordinal - self.first - len(self.rates)
        if gap >= 0:  # after a journey across the date line a date may come twice: the first one counts
            self.rates += bytes(gap) + bytes([min(max(rate, 1), 255)])

    def _judged(self) -> Night:
        """The newest night as the nights up to it say."""
        return newest({date.fromordinal(self.first + day): rate for day, rate in enumerate(self.rates) if rate})


def window(day: date, zone: str) -> tuple[float, float]:
    """Start and end of the night that ends on ``day``, seconds; 6 or 8 hours where the clocks change in it."""
    start = datetime(day.year, day.month, day.day, FIRST_HOUR, tzinfo=ZoneInfo(zone))
    return start.timestamp(), start.replace(hour=LAST_HOUR).timestamp()
