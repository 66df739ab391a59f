"""A simulated ward of people at home, as the messages that their devices, laboratories and helpers send.

The same seed gives the same stream, byte for byte. What happens in it is told in :mod:`stream_twin.datasets.ward_stories`.
"""

import heapq
from collections.abc import Iterator
from itertools import count
from typing import Any

import msgspec

from stream_twin.datasets.recording import ENVIRONMENT, HOUR, Sent, code
from stream_twin.datasets.ward_body import STEP_S, Draws
from stream_twin.datasets.ward_people import WARD, Person, Place, person, places
from stream_twin.datasets.ward_resident import Resident
from stream_twin.datasets.ward_rubbish import KINDS, rubbish
from stream_twin.datasets.ward_stories import (
    DETERIORATION,
    FIBRILLATING,
    INFECTED,
    RUBBISH,
    STORIES,
    episode,
    fibrillation,
    infection,
    sepsis,
)
from stream_twin.events import EnvironmentObservation, Outcome

START = 1_772_474_400.0
"""Monday 2 March 2026, 18:00 UTC: supper, then the night."""


class Outbox:
    """Messages on their way, given out in the order of sending."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Sent]] = []
        self._numbers = count()

    def put(self, at: float, topic: str, key: str | bytes, message: Any) -> None:
        """``message``: a message of :mod:`stream_twin.events`, or the bytes themselves."""
        value = message if isinstance(message, bytes) else msgspec.json.encode(message)
        self.send(Sent(at, topic, key if isinstance(key, bytes) else key.encode(), value))

    def send(self, sent: Sent) -> None:
        heapq.heappush(self._heap, (sent.at, next(self._numbers), sent))

    def due(self, now: float) -> Iterator[Sent]:
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]


class Ward:
    """Source messages of ``patients`` people from ``start`` on, without an end unless ``hours`` says one.

    Each iteration starts anew and gives the same messages. About 0.36 messages a second and patient.
    """

    def __init__(self, patients: int = 24, seed: int = 1, start: float = START, hours: float | None = None) -> None:
        if patients < 1:
            raise ValueError(f"a ward of {patients} patients: at least 1 is needed")
        self.patients, self.seed, self.start, self.hours = patients, seed, start, hours
        self.stories = [story for story in STORIES if story.patient < patients]

    def people(self) -> list[Person]:
        homes = places(self.seed)
        return [person(self.seed, number, homes) for number in range(self.patients)]

    def __iter__(self) -> Iterator[Sent]:
        outbox, draws = Outbox(), Draws(self.seed, WARD)
        homes = places(self.seed)
        residents = [Resident(person(self.seed, number, homes), self.seed, self.start, outbox) for number in range(self.patients)]
        self._befall(residents)
        for resident in residents:
            resident.move_in()
        strangers = _Strangers(self, residents, draws, outbox)
        for number in count():
            now = self.start + number * STEP_S
            if self.hours is not None and now >= self.start + self.hours * HOUR:
                return
            if number % 120 == 0:
                for home in homes:
                    home.step(now)
                    _report(home, now, outbox)
            strangers.step(now)
            for resident in residents:
                resident.step(now)
            yield from outbox.due(now)

    def _befall(self, residents: list[Resident]) -> None:
        """Give the residents their stories."""
        for story in self.stories:
            resident, onset = residents[story.patient], self.start + story.begins_s
            resident.stories[story.name] = (onset, self.start + story.ends_s)
            if story is DETERIORATION:
                resident.body.illnesses.append(sepsis(onset))
                resident.treat(onset + 4 * HOUR)
            elif story is FIBRILLATING:
                resident.body.illnesses.append(fibrillation(onset, self.start + story.ends_s))
            elif story is INFECTED:
                resident.body.illnesses.append(infection(onset))
                resident.learn(
                    Outcome(
                        id=f"outcome-{resident.person.id}-illness",
                        patient_id=resident.person.id,
                        kind="illness",
                        occurred_at=onset + 18 * HOUR,
                        issued_at=self.start + story.ends_s,
                    )
                )


def _report(home: Place, now: float, outbox: Outbox) -> None:
    values = (
        ("pm25", "ug/m3", home.pm25_ugm3),
        ("ambient_temperature", "Cel", home.temperature_c),
        ("humidity", "%", home.humidity_pct),
    )
    for position, (signal, unit, value) in enumerate(values):
        body = EnvironmentObservation(
            id=f"{home.name}/{signal}/{now:.0f}",
            place=home.name,
            unit=unit,
            measured_at=now,
            value=round(value, 1),
            **code(signal),
        )
        outbox.put(now + 2.0 + 0.1 * position, ENVIRONMENT, home.name, body)


class _Strangers:
    """What befalls the ward without being foretold: rubbish from a gateway, further illness, half days on which all was well."""

    def __init__(self, ward: Ward, residents: list[Resident], draws: Draws, outbox: Outbox) -> None:
        self._residents, self._draws, self._outbox = residents, draws, outbox
        self._rubbish = 0
        self._rubbish_at = ward.start + RUBBISH.begins_s if RUBBISH in ward.stories else float("inf")
        self._episode_at = ward.start + 12 * HOUR
        self._well_at = ward.start + 12 * HOUR

    def step(self, now: float) -> None:
        while self._rubbish_at <= now:
            self._throw(self._rubbish_at)
        if now >= self._episode_at:
            self._episode_at = now + self._draws.exponential(9 * HOUR)
            spared = [resident for resident in self._residents if not resident.stories and not resident.ill_until > now]
            if spared:
                resident = spared[self._draws.index(len(spared))]
                resident.fall_ill(episode(now, self._draws))
        if now >= self._well_at:
            self._well_at += 12 * HOUR
            for resident in self._residents:
                resident.all_was_well(now)

    def _throw(self, at: float) -> None:
        """All kinds within the first minute and a half, then now and then one."""
        resident = self._residents[RUBBISH.patient]
        first = self._rubbish < len(KINDS)
        kind = KINDS[self._rubbish if first else self._draws.index(len(KINDS))]
        stranger = self._residents[(RUBBISH.patient + 1) % len(self._residents)].person
        person_, device = resident.person, resident.person.device("watch")
        for topic, key, value in rubbish(
            kind, number=self._rubbish, patient=person_.id, device=device, stranger=stranger.id, at=at
        ):
            self._outbox.put(at, topic, key, value)
        self._rubbish += 1
        self._rubbish_at += 5.0 if first else self._draws.exponential(50.0)
