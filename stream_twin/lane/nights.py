"""Resting heart rates of nights, as NightSignal wants them: measured from 00:00 to 06:59 by the patient's clock, at rest.

A night is gathered in slots of five minutes while its samples are settled, and closed in the morning: once, for good. Where the
lane lags behind, samples of later nights may be settled before that: those nights are gathered beside it.
"""

from collections.abc import Sequence
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
MOST_LATER = 14
"""Nights beside the awaited one, a kilobyte each."""


class Gathered(Struct, kw_only=True, omit_defaults=True):
    """A night from ``start`` to ``end``. sums, counts: heart rates by slot, float64 and int32; nothing until the first one comes.
    walked: slots with steps."""

    start: float = inf
    end: float = inf
    sums: bytearray = msgspec.field(default_factory=bytearray)
    counts: bytearray = msgspec.field(default_factory=bytearray)
    walked: list[int] = []

    def take(self, signal: str, samples: Sequence[tuple[float, float]], period_s: float = 0.0) -> None:
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


class Nights(Gathered, kw_only=True, omit_defaults=True):
    """Of one patient: the night that is awaited, both its ends inf without a time zone, and those before and after it.

    first: ordinal of the date of the first recorded night; rates: of each date since, 0 where it was not recorded. told: the
    newest night, with the level that was told then. due: value of ``complete_to`` at which to close the night. later: nights
    after it of which something is settled. since: signals of which only what was measured then or later is not taken yet.
    """

    zone: str | None = None
    due: float = inf
    first: int = 0
    rates: bytes = b""
    told: NightBelief | None = None
    later: list[Gathered] = []
    since: dict[str, float] = {}

    def watch(self, zone: str | None, now: float) -> None:
        """Gather the night that ``now`` is in, or the next one, by the clock of another zone from now on."""
        self.zone, self.later = zone, []
        if zone is None:
            self._await(Gathered())
            return
        day = datetime.fromtimestamp(now, ZoneInfo(zone)).date()
        if window(day, zone)[1] <= now:
            day += timedelta(days=1)
        self._await(night_of(day, zone))

    def _await(self, night: Gathered) -> None:
        self.start, self.end, self.due = night.start, night.end, night.end + WAITS_S
        self.sums, self.counts, self.walked = night.sums, night.counts, night.walked

    def settle(self, signal: str, samples: Sequence[tuple[float, float]], period_s: float = 0.0) -> None:
        """As :meth:`take`, for the night that samples are of, which may be one after the awaited one."""
        newest = max((at for at, _ in samples), default=-inf)
        last: Gathered = self.later[-1] if self.later else self
        while self.zone is not None and newest >= last.end and len(self.later) < MOST_LATER:
            last = night_of(self._date(last) + timedelta(days=1), self.zone)
            if newest >= last.start:
                self.later.append(last)
        for night in (self, *self.later):
            night.take(signal, samples, period_s)

    def _date(self, night: Gathered) -> date:
        assert self.zone is not None
        return datetime.fromtimestamp(night.start, ZoneInfo(self.zone)).date()

    def close(self) -> bool:
        """End the night that is gathered, and begin the next one. -> Whether a level was told."""
        if self.zone is None:
            return False
        night, end = self._date(self), self.end
        sums, counts = memoryview(self.sums).cast("d"), memoryview(self.counts).cast("i")
        still = [slot for slot in range(len(counts)) if slot not in self.walked]
        count = sum(counts[slot] for slot in still)
        rate = sum(sums[slot] for slot in still) / count if count else 0.0
        del sums, counts
        self._await(self.later.pop(0) if self.later else night_of(night + timedelta(days=1), self.zone))
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


def night_of(day: date, zone: str) -> Gathered:
    start, end = window(day, zone)
    return Gathered(start=start, end=end)


def window(day: date, zone: str) -> tuple[float, float]:
    """Start and end of the night that ends on ``day``, seconds; 6 or 8 hours where the clocks change in it."""
    start = datetime(day.year, day.month, day.day, FIRST_HOUR, tzinfo=ZoneInfo(zone))
    return start.timestamp(), start.replace(hour=LAST_HOUR).timestamp()
