"""Welltory COVID-19: users of an app with heart-rate-variability measurements, wearable days, sleep, blood pressure, surveys.

Licence: CC0. https://github.com/Welltory/hrv-covid19

What is sent how:

- **HRV measurements** at once, one observation per index, the user's answers (feeling, mood, sleep) as signals and the tags as
  findings. The documentation gives ``mode`` in ms and sleep in hours; the files have seconds, and so they are sent. The raw RR
  intervals are not sent.
- **Blood pressure** at once (home device); its four indices are formulas of it and not sent. Some measurements are there twice,
  three hours apart: sent twice.
- **Days of wearables**: known at the end of the day. ``average_spo2_value`` is a fraction. ``pulse_min`` of 10 is sent.
- **Sleep**: at its end, as durations and as an activity. The pulse of the few nights that have it is not sent.
- **Weather**: by place (city and country, else the user's own), at the end of the day. Pressure is in hPa, not in the
  documented mmHg.
- **Surveys**: findings at the end of their day, with scale, value and text.
- **Onset of symptoms**: an outcome ``illness`` at the end of that day; one before the user's first record (1967) is sent with
  the first, one after the last (2022) with the last, as it is written.
- First the profile (sex; an age range as a subgroup), height and weight.

Nothing has a time zone: all times are read as UTC and the profile has no zone.
"""

import csv
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from stream_twin.datasets.recording import (
    DAY,
    DEVICES,
    ENVIRONMENT,
    HAPPENED,
    OUTCOMES,
    PROFILES,
    WEARABLE,
    DataSet,
    Names,
    Sent,
    by_time,
    carried,
    code,
    number,
    sent,
    utc,
)
from stream_twin.events import (
    Activity,
    AssignedDevice,
    DeviceAssignments,
    DeviceKind,
    EnvironmentObservation,
    Finding,
    Observation,
    Outcome,
    Period,
    Profile,
)

SYSTEM = "urn:welltory"
SEX: dict[str, Literal["female", "male"]] = {"f": "female", "m": "male"}
Row = dict[str, str]
Columns = dict[str, tuple[str, str]]

HRV: Columns = {
    "bpm": ("heart_rate", "/min"),
    "meanrr": ("mean_rr", "ms"),
    "mxdmn": ("rr_range", "s"),
    "sdnn": ("sdnn", "ms"),
    "rmssd": ("rmssd", "ms"),
    "pnn50": ("pnn50", "%"),
    "mode": ("rr_mode", "s"),
    "amo": ("amo50", "%"),
    "lf": ("lf_power", "ms2"),
    "hf": ("hf_power", "ms2"),
    "vlf": ("vlf_power", "ms2"),
    "lfhf": ("lf_hf_ratio", "1"),
    "total_power": ("total_power", "ms2"),
    "how_feel": ("feeling", "{score}"),
    "how_mood": ("mood", "{score}"),
    "how_sleep": ("sleep_quality", "{score}"),
}
PRESSURE: Columns = {"systolic": ("systolic_blood_pressure", "mm[Hg]"), "diastolic": ("diastolic_blood_pressure", "mm[Hg]")}
WEARABLES: Columns = {
    "resting_pulse": ("resting_heart_rate", "/min"),
    "pulse_average": ("heart_rate_mean", "/min"),
    "pulse_min": ("heart_rate_min", "/min"),
    "pulse_max": ("heart_rate_max", "/min"),
    "average_spo2_value": ("spo2", "1"),
    "body_temperature_avg": ("body_temperature", "Cel"),
    "stand_hours_total": ("stand_hours", "h"),
    "steps_count": ("steps_daily", "{steps}"),
    "distance": ("distance_daily", "m"),
    "steps_speed": ("steps_per_minute", "/min"),
    "total_number_of_flights_climbed": ("flights_climbed", "{flights}"),
    "active_calories_burned": ("active_energy_daily", "kcal"),
    "basal_calories_burned": ("basal_energy_daily", "kcal"),
    "total_calories_burned": ("energy_daily", "kcal"),
    "average_headphone_exposure": ("headphone_exposure", "dB"),
    "average_environment_exposure": ("sound_exposure", "dB"),
}
SLEEP: Columns = {
    "sleep_duration": ("sleep_minutes", "s"),
    "sleep_awake_duration": ("awake_minutes", "s"),
    "sleep_rem_duration": ("rem_sleep_minutes", "s"),
    "sleep_light_duration": ("light_sleep_minutes", "s"),
    "sleep_deep_duration": ("deep_sleep_minutes", "s"),
}
WEATHER: Columns = {
    "avg_temperature_C": ("ambient_temperature", "Cel"),
    "atmospheric_pressure": ("air_pressure", "hPa"),
    "precip_intensity": ("precipitation", "mm/h"),
    "humidity": ("humidity", "%"),
    "clouds": ("cloud_cover", "%"),
}
BODY: Columns = {"height": ("body_height", "cm"), "weight": ("body_weight", "kg")}
MOMENTS = {
    "hrv_measurements": "measurement_datetime",
    "blood_pressure": "measurement_datetime",
    "wearables": "day",
    "sleep": "sleep_end",
    "weather": "day",
    "surveys": "created_at",
}
TABLES = tuple(MOMENTS)


def people(path: Path) -> list[str]:
    """User codes in the order of ``participants.csv``; who is there without any record is left out."""
    tables = _tables(path)
    return [user for user in tables["participants"] if any(user in tables[name] for name in TABLES)]


def events(path: Path, person: str, shift_s: float = 0.0) -> Iterator[Sent]:
    """One user. Raises FileNotFoundError for one who has no record."""
    tables = _tables(path)
    if not any(person in tables[name] for name in TABLES):
        raise FileNotFoundError(f"{path}: no record of a user {person!r}")
    about = tables["participants"].get(person, [{}])[0]
    rows = {name: tables[name].get(person, []) for name in TABLES}
    moments = (utc(row.get(column, "")[:10], "%Y-%m-%d") for name, column in MOMENTS.items() for row in rows[name])
    user = _User(person, shift_s, about, min((moment for moment in moments if moment is not None), default=0.0))
    messages = by_time(
        [
            *user.measurements(rows["hrv_measurements"], HRV, "hrv", f"phone-{person}"),
            *user.tags(rows["hrv_measurements"]),
            *user.measurements(rows["blood_pressure"], PRESSURE, "pressure", f"cuff-{person}"),
            *user.days(rows["wearables"]),
            *user.nights(rows["sleep"]),
            *user.weather(rows["weather"]),
            *user.surveys(rows["surveys"]),
        ]
    )
    if not messages:
        return
    first, last = messages[0].at, messages[-1].at
    yield from user.enrolment(first)
    yield from by_time([*user.onset(first, last), *messages])


@functools.lru_cache(maxsize=2)
def _tables(path: Path) -> dict[str, dict[str, list[Row]]]:
    """Table -> user -> rows in the order of the file."""
    folder = path / "data" if (path / "data").is_dir() else path
    if not (folder / "participants.csv").exists():
        raise FileNotFoundError(f"{path}: no participants.csv here or in data/")
    tables: dict[str, dict[str, list[Row]]] = {}
    for name in ("participants", *TABLES):
        tables[name] = {}
        if (file := folder / f"{name}.csv").exists():
            with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
                for row in csv.DictReader(line.replace("\0", "") for line in lines):
                    row.pop("rr_data", None)
                    cells = {key: " ".join((cell or "").split()) for key, cell in row.items() if isinstance(key, str)}
                    tables[name].setdefault(cells.get("user_code", ""), []).append(cells)
    return tables


class _User:
    def __init__(self, user: str, shift: float, about: Row, first: float) -> None:
        self.user, self.shift, self.about, self.first = user, shift, about, first
        self.place = ", ".join(filter(None, (about.get("city"), about.get("country"))))[:128] or user

    def _timed(self, rows: list[Row], column: str, form: str) -> list[tuple[float, float | str, Row]]:
        """(moment, the same for the message, row), shifted; a moment that cannot be read stays as it is written."""
        known = [utc(row.get(column, ""), form) for row in rows]
        moments = [moment + self.shift for moment in carried(known, self.first)]
        told = [row.get(column, "") if time is None else at for at, time, row in zip(moments, known, rows, strict=True)]
        return list(zip(moments, told, rows, strict=True))

    def _observations(
        self, at: float, row: Row, columns: Columns, name: str, device: str | None, kind: DeviceKind, **when: Any
    ) -> Iterator[Sent]:
        for column, (signal, unit) in columns.items():
            if (value := number(row.get(column))) is not None:
                observation = Observation(
                    id=f"{column}-{self.user}-{name}"[:128],
                    patient_id=self.user,
                    device_id=device,
                    device_kind=kind,
                    value=value,
                    unit=unit,
                    **when,
                    **code(signal),
                )
                yield sent(at, WEARABLE, observation)

    def enrolment(self, at: float) -> Iterator[Sent]:
        age = self.about.get("age_range")
        yield sent(
            at,
            PROFILES,
            Profile(
                patient_id=self.user,
                valid_from=at,
                place=self.place,
                sex=SEX.get(self.about.get("gender", "")),
                subgroups={"age": age} if age else {},
            ),
        )
        kinds: list[tuple[str, DeviceKind]] = [("phone", "streaming"), ("cuff", "streaming"), ("watch", "syncing")]
        devices = [AssignedDevice(device_id=f"{name}-{self.user}", kind=kind, start=at - DAY) for name, kind in kinds]
        yield sent(at, DEVICES, DeviceAssignments(patient_id=self.user, devices=devices))
        yield from self._observations(at, self.about, BODY, "enrolment", None, "streaming", measured_at=at)

    def onset(self, first: float, last: float) -> Iterator[Sent]:
        written = self.about.get("symptoms_onset")
        if not written:
            return
        day = utc(written, "%m/%d/%Y")
        at = last if day is None else min(max(day + DAY + self.shift, first), last)
        outcome = Outcome(
            id=f"onset-{self.user}",
            patient_id=self.user,
            kind="illness",
            occurred_at=written if day is None else day + self.shift,
            issued_at=at,
            note="first symptoms of COVID-19, as the user said",
        )
        yield sent(at, OUTCOMES, outcome)

    def measurements(self, rows: list[Row], columns: Columns, what: str, device: str) -> Iterator[Sent]:
        names = Names()
        for at, told, row in self._timed(rows, "measurement_datetime", "%Y-%m-%d %H:%M:%S"):
            name = names(f"{what}-{row.get('measurement_datetime')}"[:60], row)
            yield from self._observations(at, row, columns, name, device, "streaming", measured_at=told)

    def tags(self, rows: list[Row]) -> Iterator[Sent]:
        for at, told, row in self._timed(rows, "measurement_datetime", "%Y-%m-%d %H:%M:%S"):
            for tag in filter(None, (tag.strip() for tag in row.get("tags", "").split(";"))):
                name = f"{row.get('rr_code')}-{tag}"[:100]
                yield self._finding(at, name, at=told, code="tag", value=tag)

    def days(self, rows: list[Row]) -> Iterator[Sent]:
        names = Names()
        for start, told, row in self._timed(rows, "day", "%Y-%m-%d"):
            name = names(f"day-{row.get('day')}"[:60], row)
            period = Period(start=told, end=told + DAY if isinstance(told, float) else told)
            yield from self._observations(start + DAY, row, WEARABLES, name, f"watch-{self.user}", "syncing", period=period)

    def nights(self, rows: list[Row]) -> Iterator[Sent]:
        names = Names()
        for (end, told_end, row), (_, told_begin, _) in zip(
            self._timed(rows, "sleep_end", "%Y-%m-%d %H:%M:%S"),
            self._timed(rows, "sleep_begin", "%Y-%m-%d %H:%M:%S"),
            strict=True,
        ):
            name = names(f"sleep-{row.get('sleep_begin')}"[:60], row)
            period = Period(start=told_begin, end=told_end)
            yield from self._observations(end, row, SLEEP, name, f"watch-{self.user}", "syncing", period=period)
            night = Activity(id=f"{name}-{self.user}", patient_id=self.user, at=told_begin, until=told_end, kind="sleep")
            yield sent(end, HAPPENED, night)

    def weather(self, rows: list[Row]) -> Iterator[Sent]:
        names = Names()
        for start, told, row in self._timed(rows, "day", "%Y-%m-%d"):
            name = names(f"{row.get('day')}"[:40], row)
            for column, (signal, unit) in WEATHER.items():
                if (value := number(row.get(column))) is not None:
                    observation = EnvironmentObservation(
                        id=f"{column}-{self.user}-{name}",
                        place=self.place,
                        unit=unit,
                        measured_at=told + DAY if isinstance(told, float) else told,
                        value=value,
                        **code(signal),
                    )
                    yield sent(start + DAY, ENVIRONMENT, observation)

    def surveys(self, rows: list[Row]) -> Iterator[Sent]:
        names = Names()
        for start, told, row in self._timed(rows, "created_at", "%Y-%m-%d"):
            name = names(f"{row.get('scale')}-{row.get('created_at')}"[:60], row)
            yield self._finding(
                start + DAY,
                name,
                at=told,
                until=told + DAY if isinstance(told, float) else None,
                code=row.get("scale") or "unknown",
                display=row.get("text", "")[:1000] or None,
                value=number(row.get("value")),
            )

    def _finding(self, sent_at: float, name: str, **what: Any) -> Sent:
        return sent(sent_at, HAPPENED, Finding(id=f"{name}-{self.user}"[:128], patient_id=self.user, code_system=SYSTEM, **what))


DATASET = DataSet("welltory", "Welltory COVID-19", people, events)
