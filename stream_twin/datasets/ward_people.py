"""Who lives in the simulated ward, where, and what they wear."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from stream_twin.datasets.ward_body import DAY_S, Constitution, Draws, Wander
from stream_twin.events import AssignedDevice, DeviceAssignments, Limits, Profile

PEOPLE, BODIES, DEVICES, PLACES, WARD = range(5)
"""Owners of random numbers."""

Condition = Literal["heart failure", "type 1 diabetes", "COPD", "hypertension", "after surgery", "atrial fibrillation"]


class Place:
    """Air and weather of a town."""

    def __init__(self, seed: int, number: int, *, name: str, time_zone: str, mean_c: float, mean_pm25: float) -> None:
        draws = Draws(seed, PLACES, number)
        self.name = name
        self.time_zone = time_zone
        self.temperature_c = mean_c
        self.humidity_pct = 60.0
        self.pm25_ugm3 = mean_pm25
        self._zone = ZoneInfo(time_zone)
        self._mean_c, self._mean_pm25 = mean_c, mean_pm25
        self._front = Wander(3.0, 1.5 * DAY_S, draws, every_s=600.0)
        self._dust = Wander(0.55, 9 * 3600.0, draws, every_s=600.0)
        self._offset_s = 0.0
        self._offset_until = -math.inf

    def hour(self, at: float) -> float:
        """Local time of day, 0..24."""
        if at >= self._offset_until:
            offset = datetime.fromtimestamp(at, self._zone).utcoffset()
            self._offset_s = offset.total_seconds() if offset else 0.0
            self._offset_until = (at // 900 + 1) * 900
        return ((at + self._offset_s) % DAY_S) / 3600

    def step(self, at: float) -> None:
        """Ten minutes on."""
        hour = self.hour(at)
        day = math.cos(2 * math.pi * (hour - 15) / 24)
        rush = math.exp(-(((hour - 8) / 1.5) ** 2)) + 0.8 * math.exp(-(((hour - 18.5) / 2) ** 2))
        front = self._front.step()
        self.temperature_c = self._mean_c + 4.0 * day + front
        self.humidity_pct = min(100.0, max(15.0, 64 - 14 * day - 2.5 * front))
        self.pm25_ugm3 = self._mean_pm25 * math.exp(self._dust.step()) * (1 + 0.5 * rush)


def places(seed: int) -> list[Place]:
    return [
        Place(seed, 0, name="manchester", time_zone="Europe/London", mean_c=7.0, mean_pm25=9.0),
        Place(seed, 1, name="zurich", time_zone="Europe/Zurich", mean_c=5.0, mean_pm25=12.0),
        Place(seed, 2, name="athens", time_zone="Europe/Athens", mean_c=13.0, mean_pm25=19.0),
    ]


@dataclass(frozen=True, slots=True)
class Person:
    """One patient of the ward; ``number`` counts from 0."""

    number: int
    id: str
    place: Place
    sex: Literal["female", "male"]
    age_years: int
    condition: Condition
    constitution: Constitution

    def device(self, kind: str) -> str:
        return f"{kind}-{self.number + 1:02d}"

    @property
    def diabetic(self) -> bool:
        return self.constitution.diabetic

    def profile(self, valid_from: float) -> Profile:
        lungs = self.condition == "COPD"
        return Profile(
            patient_id=self.id,
            valid_from=valid_from,
            place=self.place.name,
            time_zone=self.place.time_zone,
            sex=self.sex,
            age_years=self.age_years,
            spo2_scale=2 if lungs else 1,
            limits={"spo2": Limits(low=84.0)} if lungs else {},
            cohort="home",
            subgroups={"condition": self.condition, "sex": self.sex},
        )

    def assignments(self, since: float) -> DeviceAssignments:
        """Streaming devices promise to speak every minute or two, so that their silence is noticed."""
        worn: list[tuple[str, Literal["streaming", "syncing", "bedside"], float | None]] = [
            ("watch", "streaming", 60.0),
            ("patch", "streaming", 60.0),
            ("oximeter", "streaming", 60.0),
            ("phone", "syncing", 3600.0),
            ("cuff", "bedside", None),
        ]
        if self.diabetic:
            worn.append(("cgm", "streaming", 300.0))
        return DeviceAssignments(
            patient_id=self.id,
            devices=[
                AssignedDevice(device_id=self.device(name), kind=kind, start=since, every_s=every_s)
                for name, kind, every_s in worn
            ],
        )


def person(seed: int, number: int, homes: list[Place]) -> Person:
    """Number ``number`` of the ward: the same whatever the ward's size."""
    draws = Draws(seed, PEOPLE, number)
    conditions: tuple[Condition, ...] = (
        "heart failure",
        "type 1 diabetes",
        "COPD",
        "hypertension",
        "type 1 diabetes",
        "after surgery",
    )
    condition = conditions[number % len(conditions)] if number != 9 else "atrial fibrillation"
    diabetic, lungs = condition == "type 1 diabetes", condition == "COPD"
    age = round(draws.uniform(24, 66) if diabetic else draws.uniform(52, 86))
    fitness = 1.25 - 0.006 * (age - 24) - (0.15 if lungs else 0.0)
    return Person(
        number=number,
        id=f"home-{number + 1:02d}",
        place=homes[number % len(homes)],
        sex="female" if draws.uniform() < 0.5 else "male",
        age_years=age,
        condition=condition,
        constitution=Constitution(
            heart_rate=draws.normal(68 + (6 if condition == "heart failure" else 0), 5.0),
            heart_rate_swing=draws.uniform(3.0, 6.0),
            respiratory_rate=draws.normal(15.0 + (2.5 if lungs else 0.0), 1.0),
            spo2=draws.normal(90.5, 0.5) if lungs else min(98.4, draws.normal(97.2, 0.6)),
            temperature=draws.normal(36.55, 0.14),
            systolic=draws.normal(142 if condition == "hypertension" else 126, 8.0),
            diastolic=draws.normal(82 if condition == "hypertension" else 76, 5.0),
            rmssd_ms=max(12.0, draws.normal(52 - 0.42 * (age - 30), 6.0)),
            fitness=fitness,
            wakes_h=draws.normal(6.8, 0.5),
            sleeps_h=draws.normal(22.7, 0.5),
            diabetic=diabetic,
            insulin_sensitivity_mgdl=draws.uniform(32, 50),
            carbohydrate_ratio_g=draws.uniform(8, 12),
        ),
    )
