"""One's own table (CSV) as source messages, by a map from columns to fields (YAML): see docs/send.md."""

import csv
import difflib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import yaml
from msgspec import Meta, Struct

from stream_twin.datasets.recording import ENVIRONMENT, Names, Sent, catalogue, code, number, sent
from stream_twin.events import (
    LOINC,
    AssignedDevice,
    DeviceAssignments,
    DeviceKind,
    EnvironmentObservation,
    Observation,
    Profile,
)


class MapError(ValueError):
    """The map is wrong, or does not fit the table; the message is for people."""

    exit_code = 2


class Field(Struct, frozen=True, forbid_unknown_fields=True):
    """A column, or the same for every row."""

    column: str | None = None
    constant: str | None = None


class Time(Struct, frozen=True, forbid_unknown_fields=True):
    """``format``: ``iso``, ``epoch_s``, ``epoch_ms``, or as Python's strptime. ``zone``: IANA, for times without an offset."""

    column: str
    format: str = "iso"
    zone: str | None = None


class Value(Struct, frozen=True, forbid_unknown_fields=True):
    """A column of values of a signal of the catalogue, or of a code of a code system."""

    column: str
    unit: str
    signal: str | None = None
    code: str | None = None
    code_system: str = LOINC


class Person(Struct, frozen=True, forbid_unknown_fields=True):
    """Sends a profile before a patient's first row."""

    time_zone: str | None = None
    sex: str | Field | None = None
    age_years: str | Field | None = None
    place: str | None = None
    cohort: str | None = None


class Map(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole map. A plain text for a field is the name of a column."""

    time: Time
    values: Annotated[list[Value], Meta(min_length=1)]
    patient: str | Field | None = None
    place: str | Field | None = None
    topic: Literal["wearable.observations", "clinical.observations", "environment.observations"] = "wearable.observations"
    device: str | Field | None = None
    device_kind: DeviceKind | None = None
    every_s: float | None = None
    profile: Person | None = None
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8-sig"
    missing: tuple[str, ...] = ("", "NA", "NaN", "nan", "null")
    """Cells that mean that nothing was measured."""


class FromRow(NamedTuple):
    """``line`` of the table, from 1; ``column`` is empty where the message is not about one."""

    line: int
    column: str
    sent: Sent


def read_map(path: Path) -> Map:
    """The map in a YAML file. Raises MapError, with the field; OSError."""
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        read = msgspec.convert(given, Map)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MapError(f"{path} is no YAML: {error}") from None
    except msgspec.ValidationError as error:
        raise MapError(f"{path}: {error}") from None
    about, other = ("place", "patient") if read.topic == ENVIRONMENT else ("patient", "place")
    if getattr(read, about) is None or getattr(read, other) is not None:
        raise MapError(f"{path}: messages of {read.topic} are about a {about}: give {about} and no {other}")
    for name, field in (("patient", read.patient), ("place", read.place), ("device", read.device)):
        if isinstance(field, Field) and (field.column is None) == (field.constant is None):
            raise MapError(f"{path}: {name}: give either a column or a constant")
    for value in read.values:
        if (value.signal is None) == (value.code is None):
            raise MapError(f"{path}: column {value.column}: give either a signal of the catalogue or a code")
        if value.signal is not None and value.signal not in catalogue():
            close = difflib.get_close_matches(value.signal, catalogue().signals, n=3)
            known = f"did you mean {' or '.join(close)}?" if close else "topics/ lists the signals"
            raise MapError(f"{path}: column {value.column}: no signal {value.signal!r}: {known}")
    zones = {read.time.zone, read.profile.time_zone if read.profile else None}
    for zone in filter(None, zones):
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise MapError(f"{path}: no time zone {zone!r}: give an IANA name such as Europe/London") from None
    return read


class Table:
    """A table under a map. Iterating gives its messages in the order of rows; raises MapError where a column is missing."""

    def __init__(self, path: Path, mapping: Map) -> None:
        self.path, self.map = path, mapping
        self._zone = ZoneInfo(mapping.time.zone) if mapping.time.zone else None

    def __iter__(self) -> Iterator[FromRow]:
        mapping, names = self.map, Names()
        known: dict[str, list[AssignedDevice]] = {}
        last = 0.0
        with self.path.open(encoding=mapping.encoding, errors="replace", newline="") as lines:
            reader = csv.DictReader((line.replace("\0", "") for line in lines), delimiter=mapping.delimiter)
            self._check(list(reader.fieldnames or []))
            for row in reader:
                time = self._time(row.get(mapping.time.column) or "")
                last = time if isinstance(time, float) else last
                about = self._field(mapping.patient if mapping.patient is not None else mapping.place, row)
                if mapping.profile is not None and mapping.patient is not None:
                    if about not in known:
                        known[about] = []
                        yield FromRow(reader.line_num, "", self._profile(last, about, row, mapping.profile))
                    device = self._field(mapping.device, row)
                    if device and device not in {worn.device_id for worn in known[about]}:
                        yield FromRow(reader.line_num, "", self._assignments(last, about, device, known[about]))
                for value in mapping.values:
                    cell = (row.get(value.column) or "").strip()
                    if cell not in mapping.missing:
                        name = names(f"{value.column}-{about}-{row.get(mapping.time.column)}"[:120], row)
                        yield FromRow(reader.line_num, value.column, self._message(last, name, about, time, value, cell, row))

    def _check(self, columns: list[str]) -> None:
        mapping = self.map
        fields = [mapping.patient, mapping.place, mapping.device]
        if mapping.profile:
            fields += [mapping.profile.sex, mapping.profile.age_years]
        wanted = [mapping.time.column, *(value.column for value in mapping.values)]
        wanted += [field if isinstance(field, str) else field.column for field in fields if field is not None]  # type: ignore[misc]  # None is left out below
        for column in wanted:
            if column is not None and column not in columns:
                close = difflib.get_close_matches(column, columns, n=1)
                known = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(columns) or 'no header'}"
                raise MapError(f"{self.path} has no column {column!r}: {known}")

    def _field(self, field: str | Field | None, row: dict[str, Any]) -> str:
        if isinstance(field, Field):
            return field.constant if field.constant is not None else str(row.get(field.column or "") or "").strip()
        return "" if field is None else str(row.get(field) or "").strip()

    def _time(self, cell: str) -> Any:
        """Seconds; what cannot be read by the format stays as it is written, to be refused with the reason."""
        cell = cell.strip()
        form = self.map.time.format
        try:
            if form in ("epoch_s", "epoch_ms"):
                return float(cell) / (1000 if form == "epoch_ms" else 1)
            time = datetime.fromisoformat(cell) if form == "iso" else datetime.strptime(cell, form)  # noqa: DTZ007  # the zone follows
            if time.tzinfo is None and self._zone is not None:
                time = time.replace(tzinfo=self._zone)
            return cell if time.tzinfo is None else time.timestamp()
        except (ValueError, OverflowError):
            return cell

    def _message(self, at: float, name: str, about: str, time: Any, value: Value, cell: str, row: dict[str, Any]) -> Sent:
        signal = code(value.signal) if value.signal else {"code": value.code, "code_system": value.code_system}
        if self.map.topic == ENVIRONMENT:
            air = EnvironmentObservation(id=name, place=about, unit=value.unit, measured_at=time, value=number(cell), **signal)
            return sent(at, ENVIRONMENT, air)
        observation = Observation(
            id=name,
            patient_id=about,
            unit=value.unit,
            measured_at=time,
            value=number(cell),
            device_id=self._field(self.map.device, row) or None,
            device_kind=self.map.device_kind,
            **signal,
        )
        return sent(at, self.map.topic, observation)

    def _profile(self, at: float, patient: str, row: dict[str, Any], person: Person) -> Sent:
        age = number(self._field(person.age_years, row))
        profile = Profile(
            patient_id=patient,
            valid_from=at,
            time_zone=person.time_zone,
            sex=self._field(person.sex, row).lower() or None,  # type: ignore[arg-type]  # other words are refused with a reason
            age_years=int(age) if isinstance(age, float) else age,
            place=person.place,
            cohort=person.cohort,
        )
        return sent(at, "patient.profiles", profile)

    def _assignments(self, at: float, patient: str, device: str, worn: list[AssignedDevice]) -> Sent:
        kind = self.map.device_kind or "streaming"
        worn.append(AssignedDevice(device_id=device, kind=kind, start=at, every_s=self.map.every_s))
        return sent(at, "device.assignments", DeviceAssignments(patient_id=patient, version=len(worn), devices=worn))
