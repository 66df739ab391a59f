"""Beijing PM2.5: hours of air and weather at one place, 2010 to 2014.

Licence: CC BY 4.0. https://doi.org/10.24432/C5JS49 (``PRSA_data_2010.1.1-2014.12.31.csv``)

The stream is keyed by the place ``beijing`` and has no patients; patients refer to the place in their profile. What is sent how:

- A row is sent at its hour, Beijing time (UTC+8): one observation per column. ``NA`` is a monitor that had no value: sent as
  absent.
- ``Iws`` is wind summed since its direction changed, ``Is`` and ``Ir`` are hours of snow and rain so far; so they are called in
  the catalogue.
- Not sent: ``cbwd``, a direction by letters.
- A row whose date is none is sent with the row before (at the file's start: with the first that has one), its time as written.
"""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from stream_twin.datasets.recording import ENVIRONMENT, HOUR, DataSet, Sent, code, number, sent
from stream_twin.events import EnvironmentObservation

PLACE = "beijing"
ZONE_S = 8 * HOUR
COLUMNS = {
    "pm2.5": ("pm25", "ug/m3"),
    "DEWP": ("dew_point", "Cel"),
    "TEMP": ("ambient_temperature", "Cel"),
    "PRES": ("air_pressure", "hPa"),
    "Iws": ("wind_accumulated", "m/s"),
    "Is": ("snow_hours", "h"),
    "Ir": ("rain_hours", "h"),
}


def people(path: Path) -> list[str]:
    """The one place."""
    _file(path)
    return [PLACE]


def events(path: Path, person: str = PLACE, shift_s: float = 0.0) -> Iterator[Sent]:
    """The hours in the order of the file, which is the order of time; a row that goes back is sent with the row before."""
    if person != PLACE:
        raise FileNotFoundError(f"{path}: no place {person!r}, only {PLACE!r}")
    at = first = next((time for row in _rows(path) if (time := _time(row)) is not None), 0.0)
    for row in _rows(path):
        time = _time(row)
        at = max(at, first if time is None else time)
        written = "-".join(str(row.get(part)) for part in ("year", "month", "day", "hour"))[:60]
        for column, (signal, unit) in COLUMNS.items():
            cell = (row.get(column) or "").strip()
            value = None if cell == "NA" else number(cell)
            observation = EnvironmentObservation(
                id=f"{PLACE}-{column}-{written}",
                place=PLACE,
                unit=unit,
                measured_at=written if time is None else time + shift_s,
                value=value,
                absent_reason="unknown" if value is None else None,
                **code(signal),
            )
            yield sent(at + shift_s, ENVIRONMENT, observation)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with _file(path).open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        yield from csv.DictReader(line.replace("\0", "") for line in lines)


def _file(path: Path) -> Path:
    found = sorted(path.glob("PRSA_data_*.csv"))
    if not found:
        raise FileNotFoundError(f"{path}: no PRSA_data_*.csv here")
    return found[0]


def _time(row: dict[str, str]) -> float | None:
    try:
        year, month, day, hour = (int(row[part]) for part in ("year", "month", "day", "hour"))
        return datetime(year, month, day, hour, tzinfo=UTC).timestamp() - ZONE_S
    except (KeyError, TypeError, ValueError):
        return None


DATASET = DataSet("beijing-pm25", "Beijing PM2.5 and weather", people, events)
