"""T1D-UOM: adults with type 1 diabetes at home, with CGM, insulin, meals, and a Garmin watch.

Licence: CC BY 4.0. https://doi.org/10.5281/zenodo.15169263

Whoever has a file of glucose is played. What is sent how:

- **Glucose**: each reading at once, in mmol/L as recorded; ``streaming``. The assignment says how often the sensor speaks
  (5 or 15 min), by the first dozen gaps. A reading that repeats is the same message again, another value of the same minute is
  another reading. Readings of 0.1 mmol/L are sent; a sensor that stops at 2.8 or 22.2 says nothing about it and neither do we.
- **Insulin**: kind ``R`` is a pump's rate in U/h, ``L`` a long-acting dose, a bolus a rapid dose; each at once. Meals at once.
  People typed some dates wrongly (a year early or late, 2204, a month ahead, no time of day): such a row is sent when the rows
  around it were, with the time that was written.
- **Watch, hourly syncs**: heart rate and stress as a series per hour (5 min), steps, distance and active energy as a series
  per hour (15 min, by the end of each quarter), bouts of movement other than sedentary as activities, resting heart rate at the
  end of its day. A heart rate of 0 and a stress of -1 or -2 mean that the watch had no reading: null in the series.
- **Sleep**: at the hour after waking: minutes by stage, and the stages as activities. A night that comes again is a correction.

Times: dates are DD/MM/YYYY. Glucose, insulin and meals are wall time without a zone; the offset is that of the newest activity
row then known, so nothing depends on the future (before the first activity row: that row's offset if it comes within a day,
otherwise London's, where the study was). Two offsets at once (2305) mean two devices: the one in force stays. A change of
offset is a new profile; its zone is named ``Etc/GMT+n``, since that stays right when dates are shifted. ``sleep_ts`` and
``start_date_ts`` are UTC: only then does stress -2 ("too active") fall together with steps, at UTC+8 too (2303).

Not to be trusted: the column ``heart_rate`` hardly follows the same watch's steps (correlation below 0.17 at any lag of 26 h),
and is highest at night; ``step_count`` beside it counts up and jumps and is not sent, nor is ``sleep_level``, which the stages
say better.
"""

import csv
import math
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median, median_low
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from stream_twin.datasets.recording import (
    DAY,
    DEVICES,
    HAPPENED,
    HOUR,
    PROFILES,
    WEARABLE,
    DataSet,
    Names,
    Sent,
    by_hour,
    by_time,
    carried,
    code,
    in_order,
    number,
    positive,
    sent,
    utc,
)
from stream_twin.events import (
    Activity,
    AssignedDevice,
    DeviceAssignments,
    Insulin,
    Meal,
    Observation,
    Period,
    Profile,
    Series,
)

FORM = "%d/%m/%Y %H:%M"
SETTLE = 6 * HOUR
"""How long an offset must be absent before another replaces it; an hour's change is at once, a second device's takes days."""
Row = dict[str, str]


def people(path: Path) -> list[str]:
    """Subjects with a file of glucose: ``2301``, ..."""
    found = sorted(file.stem.removeprefix("UoMGlucose") for file in path.glob("Glucose Data/UoMGlucose*.csv"))
    if not found:
        raise FileNotFoundError(f"{path}: no 'Glucose Data/UoMGlucose*.csv' here")
    return found


def events(path: Path, person: str, shift_s: float = 0.0) -> Iterator[Sent]:
    """One subject. Raises FileNotFoundError for one without a file of glucose."""
    if not (path / f"Glucose Data/UoMGlucose{person}.csv").exists():
        raise FileNotFoundError(f"{path}: no 'Glucose Data/UoMGlucose{person}.csv'")
    return _Subject(path, person, shift_s).events()


class WallClock:
    """Wall time of one subject's devices -> instants, by the offsets that the watch wrote."""

    def __init__(self, activity: Iterable[Row], first_wall: float) -> None:
        epochs: dict[float, set[float]] = {}
        for row in activity:
            start, offset = number(row.get("start_time_s")), number(row.get("start_time_offset_s"))
            if isinstance(start, float) and isinstance(offset, float):
                epochs.setdefault(start, set()).add(offset)
        self.starts: list[float] = [-math.inf]
        self.offsets: list[float] = [_london(first_wall)]
        seen = -math.inf
        others: set[float] = set()
        for start in sorted(epochs):
            here, now = epochs[start], self.offsets[-1]
            if now in here:
                seen = start
                others |= here - {now}
                continue
            nearest = min(here, key=lambda offset: (offset in others, abs(offset - now), offset))
            away = start - seen
            if seen == -math.inf and start + nearest - first_wall <= DAY:
                self.offsets[0], seen = nearest, start
            elif away >= SETTLE * 24 if nearest in others else (away >= SETTLE or abs(nearest - now) <= HOUR):
                self.starts.append(start)
                self.offsets.append(nearest)
                seen = start

    def instant(self, wall: float) -> float:
        """The earliest moment at which the clock showed ``wall``; what it never showed counts from before the jump."""
        for number_, offset in enumerate(self.offsets):
            end = self.starts[number_ + 1] if number_ + 1 < len(self.starts) else math.inf
            if wall - offset < end:
                return max(wall - offset, self.starts[number_])
        raise AssertionError("the last offset has no end")

    def offset(self, instant: float) -> float:
        return self.offsets[bisect_right(self.starts, instant) - 1]


def _london(wall: float) -> float:
    there = datetime.fromtimestamp(wall, UTC).replace(tzinfo=ZoneInfo("Europe/London")).utcoffset()
    return there.total_seconds() if there else 0.0


def zone(offset: float) -> str | None:
    """IANA name of a fixed offset in whole hours, for other ones none."""
    hours = offset / HOUR
    if hours != int(hours) or not -12 <= hours <= 14:
        return None
    return "Etc/UTC" if hours == 0 else f"Etc/GMT{-int(hours):+d}"


class _Subject:
    def __init__(self, path: Path, person: str, shift: float) -> None:
        self.path, self.person, self.shift = path, person, shift
        self.glucose = self._read(f"Glucose Data/UoMGlucose{person}.csv")
        activity = self._read(f"Activity Data/UoMActivity{person}.csv")
        self.first_wall = next((wall for row in self.glucose if (wall := utc(row.get("bg_ts") or "", FORM)) is not None), 0.0)
        self.wall = WallClock(activity, self.first_wall)
        self.activity = activity

    def events(self) -> Iterator[Sent]:
        streams = [self._readings(), self._insulin(), self._meals(), self._movement(), self._pulse(), self._nights()]
        starts = [stream[0].at for stream in streams if stream]
        start = min(starts, default=self._now(self.first_wall))
        return in_order(self._profiles(start), *streams)

    def _read(self, name: str) -> list[Row]:
        file = self.path / name
        if not file.exists():
            return []
        with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            reader = csv.DictReader(line.replace("\0", "") for line in lines)
            return [{key: sys.intern(cell or "") for key, cell in row.items() if isinstance(key, str)} for row in reader]

    def _now(self, wall: float) -> float:
        return self.wall.instant(wall) + self.shift

    def _timed(self, rows: list[Row], column: str) -> list[tuple[float, float | str, Row]]:
        """(when it was sent, its time for the message, row) of rows in wall time; a time that is none stays as it is written."""
        walls = [utc(row.get(column, ""), FORM) for row in rows]
        times = [None if wall is None else self._now(wall) for wall in walls]
        first = self._now(self.first_wall)
        sent_at = carried(believed(times, first), first)
        return [
            (at, row.get(column, "") if time is None else time, row) for at, time, row in zip(sent_at, times, rows, strict=True)
        ]

    def _name(self, what: str, row: Row, column: str) -> str:
        """Of wall time, so that a reading has the same id wherever it is shifted to."""
        wall = utc(row.get(column, ""), FORM)
        when = row.get(column, "") if wall is None else datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%dT%H:%M")
        return f"{what}-{self.person}-{when}"[:100]

    def _profiles(self, start: float) -> Iterator[Sent]:
        changes = [change + self.shift for change in self.wall.starts[1:]]
        version = bisect_right(changes, start)
        gaps = [utc(row.get("bg_ts", ""), FORM) for row in self.glucose[:13]]
        known = sorted({gap for gap in gaps if gap is not None})
        every = 900.0 if len(known) > 1 and median(b - a for a, b in pairwise(known)) > 450 else 300.0
        yield self._profile(1, start, self.wall.offsets[version])
        devices = [
            AssignedDevice(device_id=f"cgm-{self.person}", kind="streaming", start=start - DAY, every_s=every),
            AssignedDevice(device_id=f"watch-{self.person}", kind="syncing", start=start - DAY),
        ]
        yield sent(start, DEVICES, DeviceAssignments(patient_id=self.person, devices=devices))
        for place, change in enumerate(changes[version:]):
            yield self._profile(2 + place, change, self.wall.offsets[version + 1 + place])

    def _profile(self, version: int, at: float, offset: float) -> Sent:
        profile = Profile(
            patient_id=self.person,
            version=version,
            valid_from=at,
            time_zone=zone(offset),
            subgroups={"condition": "type 1 diabetes"},
        )
        return sent(at, PROFILES, profile)

    def _readings(self) -> list[Sent]:
        names = Names()
        return by_time(
            sent(
                at,
                WEARABLE,
                Observation(
                    id=names(self._name("cgm", row, "bg_ts"), row["value"]),
                    patient_id=self.person,
                    device_id=f"cgm-{self.person}",
                    device_kind="streaming",
                    value=number(row["value"]),
                    absent_reason=None if row["value"] else "unknown",
                    unit="mmol/L",
                    measured_at=time,
                    **code("glucose"),
                ),
            )
            for at, time, row in self._timed(self.glucose, "bg_ts")
        )

    def _insulin(self) -> list[Sent]:
        names, doses = Names(), []
        for at, time, row in self._timed(self._read(f"Insulin Data/Bolus Data/UoMBolus{self.person}.csv"), "bolus_ts"):
            dose = row.get("bolus_dose", "")
            name = names(self._name("bolus", row, "bolus_ts"), dose)
            doses.append(
                sent(at, HAPPENED, Insulin(id=name, patient_id=self.person, at=time, kind="rapid", dose_units=number(dose)))
            )
        for at, time, row in self._timed(self._read(f"Insulin Data/Basal Data/UoMBasal{self.person}.csv"), "basal_ts"):
            dose, kind = row.get("basal_dose", ""), row.get("insulin_kind", "").strip()
            name = names(self._name("basal", row, "basal_ts"), (dose, kind))
            rate = kind == "R"
            basal = Insulin(
                id=name,
                patient_id=self.person,
                at=time,
                kind={"R": "basal_rate", "L": "long"}.get(kind, kind),  # type: ignore[arg-type]  # an unknown kind is to be refused
                rate_units_per_h=number(dose) if rate else None,
                dose_units=None if rate else number(dose),
            )
            doses.append(sent(at, HAPPENED, basal))
        return by_time(doses)

    def _meals(self) -> list[Sent]:
        names = Names()
        return by_time(
            sent(
                at,
                HAPPENED,
                Meal(
                    id=names(self._name("meal", row, "meal_ts"), row),
                    patient_id=self.person,
                    at=time,
                    carbohydrates_g=number(row.get("carbs_g")),
                    fat_g=number(row.get("fat_g")),
                    protein_g=number(row.get("prot_g")),
                    note=": ".join(filter(None, (row.get("meal_type"), row.get("meal_tag")))) or None,
                ),
            )
            for at, time, row in self._timed(self._read(f"Nutrition Data/UoMNutrition{self.person}.csv"), "meal_ts")
        )

    def _series(self, signal: str, unit: str, end: float, times: list[float], values: list[Any]) -> Sent:
        """What one sync carries of one signal; ``end`` and ``times`` are not yet shifted."""
        when = datetime.fromtimestamp(end, UTC).strftime("%Y-%m-%dT%H")
        series = Series(
            id=f"{signal}-{self.person}-{when}",
            patient_id=self.person,
            device_id=f"watch-{self.person}",
            device_kind="syncing",
            unit=unit,
            measured_at=[time + self.shift for time in times],
            values=values,
            **code(signal),
        )
        return sent(end + self.shift, WEARABLE, series)

    def _movement(self) -> list[Sent]:
        """Steps, distance and energy are summed over the parts of a quarter of an hour; a row that repeats counts once."""
        messages, rows = [], []
        for row in self.activity:
            start = number(row.get("start_time_s"))
            rows.append((start if isinstance(start, float) else None, row))
        starts = carried((start for start, _ in rows), self.wall.instant(self.first_wall))
        for end, hour in by_hour((at, (start, row)) for at, (start, row) in zip(starts, rows, strict=True)):
            quarters: dict[float, list[Row]] = {}
            for at, (start, row) in hour:
                if start is not None and row not in quarters.setdefault(start, []):
                    quarters[start].append(row)
                kind = row.get("activity_type", "").lower()
                if kind == "sedentary" and start is not None:
                    continue
                length = number(row.get("duration_s"))
                bout = Activity(
                    id=f"{kind}-{self.person}-{row.get('start_time_s', '')}-{row.get('start_time_offset_s', '')}"[:100],
                    patient_id=self.person,
                    at=row.get("start_time_s", "") if start is None else at + self.shift,
                    until=at + self.shift + length if isinstance(length, float) else None,
                    kind=kind,
                    intensity=number(row.get("met")),
                )
                messages.append(sent(end + self.shift, HAPPENED, bout))
            if quarters:
                ends = [start + 900.0 for start in quarters]
                for signal, column, unit in MOVEMENT:
                    sums = [_sum(rows, column) for rows in quarters.values()]
                    messages.append(self._series(signal, unit, end, ends, sums))
        return by_time(messages)

    def _pulse(self) -> list[Sent]:
        """Heart rate, stress and resting heart rate of the file that is called sleep."""
        messages = []
        rows = self._read(f"Sleep Data/UoMsleep{self.person}.csv")
        times = [utc(row.get("sleep_ts", "")[:16], FORM) for row in rows]
        resting: dict[float, Any] = {}
        timed = []
        for at, time, row in zip(carried(times, self.wall.instant(self.first_wall)), times, rows, strict=True):
            if time is None:
                messages.append(self._unreadable(at, row))
                continue
            timed.append((at, row))
            if (rate := positive(row.get("resting_heart_rate"))) is not None:
                resting[math.floor(at / DAY) * DAY] = rate
        for end, hour in by_hour(timed):
            instants = [at for at, _ in hour]
            messages.append(
                self._series("heart_rate", "/min", end, instants, [positive(row.get("heart_rate")) for _, row in hour])
            )
            messages.append(self._series("stress", "{score}", end, instants, [_stress(row) for _, row in hour]))
        for day, rate in resting.items():
            end = day + DAY + self.shift
            observation = Observation(
                id=f"resting-{self.person}-{datetime.fromtimestamp(day, UTC):%Y-%m-%d}",
                patient_id=self.person,
                device_id=f"watch-{self.person}",
                device_kind="syncing",
                value=rate,
                unit="/min",
                period=Period(start=end - DAY, end=end),
                **code("resting_heart_rate"),
            )
            messages.append(sent(end, WEARABLE, observation))
        return by_time(messages)

    def _unreadable(self, at: float, row: Row) -> Sent:
        observation = Observation(
            id=f"heart_rate-{self.person}-{row.get('sleep_ts')}"[:100],
            patient_id=self.person,
            device_id=f"watch-{self.person}",
            device_kind="syncing",
            value=number(row.get("heart_rate")),
            unit="/min",
            measured_at=row.get("sleep_ts", ""),
            **code("heart_rate"),
        )
        return sent(at + self.shift, WEARABLE, observation)

    def _nights(self) -> list[Sent]:
        messages: list[Sent] = []
        versions: dict[str, list[Row]] = {}
        rows = self._read(f"Sleep Data/UoM{self.person}sleeptime.csv")
        starts = [utc(row.get("start_date_ts", ""), FORM) for row in rows]
        for at, start, row in zip(carried(starts, self.wall.instant(self.first_wall)), starts, rows, strict=True):
            told = versions.setdefault(row.get("start_date_ts", ""), [])
            if row not in told:
                told.append(row)
            messages += self._night(at, start, row, version=told.index(row) + 1)
        return by_time(messages)

    def _night(self, at: float, start: float | None, row: Row, version: int) -> Iterator[Sent]:
        name = f"{self.person}-{row.get('start_date_ts', '')}"[:80]
        length = number(row.get("duration_in_sec"))
        begin: float | str = row.get("start_date_ts", "") if start is None else start + self.shift
        end: Any = begin + length if isinstance(begin, float) and isinstance(length, float) else row.get("duration_in_sec", "")
        stages = {column[17:]: _parts(cell) for column, cell in row.items() if column.startswith("sleep_levels_map") and cell}
        ends = [at + length if isinstance(length, float) else at]
        ends += [finish for parts in stages.values() for _, finish in parts if isinstance(finish, float)]
        told = math.ceil(max(ends) / HOUR) * HOUR + self.shift
        night = Activity(id=f"sleep-{name}", patient_id=self.person, version=version, at=begin, until=end, kind="sleep")
        yield sent(told, HAPPENED, night)
        cells = {signal: number(row.get(column)) for signal, column in STAGES.items()}
        asleep = [cells[signal] for signal in ("deep_sleep_minutes", "light_sleep_minutes", "rem_sleep_minutes")]
        if all(isinstance(cell, float) for cell in asleep) and sum(asleep):
            cells["sleep_minutes"] = sum(asleep)
        for signal, seconds in cells.items():
            observation = Observation(
                id=f"{signal}-{name}",
                patient_id=self.person,
                version=version,
                device_id=f"watch-{self.person}",
                device_kind="syncing",
                value=seconds,
                absent_reason="unknown" if seconds is None else None,
                unit="s",
                period=Period(start=begin, end=end),
                **code(signal),
            )
            yield sent(told, WEARABLE, observation)
        for stage, parts in stages.items():
            for part_begin, part_end in parts:
                part = Activity(
                    id=f"sleep-{stage}-{self.person}-{part_begin}"[:100],
                    patient_id=self.person,
                    version=version,
                    at=part_begin + self.shift if isinstance(part_begin, float) else part_begin,
                    until=part_end + self.shift if isinstance(part_end, float) else part_end,
                    kind=f"sleep_{stage}",
                )
                yield sent(told, HAPPENED, part)


MOVEMENT = (("steps", "step_count", "{steps}"), ("distance", "distance_m", "m"), ("active_energy", "active_Kcal", "kcal"))
STAGES = {
    "deep_sleep_minutes": "deep_sleep_s",
    "light_sleep_minutes": "light_sleep_s",
    "rem_sleep_minutes": "rem_sleep_s",
    "awake_minutes": "awake_s",
    "time_in_bed_minutes": "duration_in_sec",
}


def believed(times: list[float | None], first: float) -> list[float | None]:
    """The times of a diary by which it was written: None for one that goes back over a day, or ahead and then back again."""
    found: list[float | None] = []
    before = first - 366 * DAY
    for place, time in enumerate(times):
        after = [other for other in times[place + 1 : place + 6] if other is not None]
        ahead = 20 * DAY if time is not None and after and median_low(after) < time - DAY else 366 * DAY
        if time is None or time < before - DAY or time > max(before, first) + ahead:
            found.append(None)
        else:
            found.append(time)
            before = max(before, time)
    return found


def _parts(cell: str) -> list[tuple[Any, Any]]:
    """Begin and end of each part of a stage of sleep; what cannot be read is one part that begins with the text."""
    try:
        parts = msgspec.json.decode(cell, type=list[dict[str, float]])
        return [(part["startTimeInSeconds"], part["endTimeInSeconds"]) for part in parts]
    except (msgspec.DecodeError, KeyError):
        return [(cell[:80], None)]


def _sum(rows: list[Row], column: str) -> Any:
    """Of the cells that are numbers; one that is none is sent instead, so that the sync is refused and can be looked at."""
    cells = [number(row.get(column)) for row in rows]
    texts = [cell for cell in cells if isinstance(cell, str)]
    known = [cell for cell in cells if isinstance(cell, float)]
    return texts[0] if texts else sum(known) if known else None


def _stress(row: Row) -> Any:
    value = number(row.get("stress_level_value"))
    return None if value in (0, -1, -2) else value


DATASET = DataSet("t1d", "T1D-UOM, type 1 diabetes at home", people, events)
