"""Who is to be looked at, and when."""

import heapq
from math import inf

from stream_twin.lane.assess import Due
from stream_twin.lane.patient import Patient


class Agenda:
    """``waiting``: to be assessed before their next record. Others are woken by the first tick that is complete to their time."""

    def __init__(self) -> None:
        self.waiting: list[Due] = []
        self._timers: list[tuple[float, bytes]] = []

    def await_(self, patient: Patient, offset: int, arrived_at: float | None = None) -> None:
        """Have the patient assessed, because of the record at ``offset``, which arrived at ``arrived_at`` if it is a sample."""
        if not patient.awaits:
            patient.awaits = True
            self.waiting.append((patient, offset, arrived_at))

    def take_waiting(self) -> list[Due]:
        waiting, self.waiting = self.waiting, []
        for patient, _, _ in waiting:
            patient.awaits = False
        return waiting

    def wake(self, patient: Patient, at: float) -> None:
        if at < patient.state.wake_at:
            patient.state.wake_at = at
            self.schedule(patient)

    def schedule(self, patient: Patient) -> None:
        """Enter the time that the patient's state names; for one that was restored."""
        if patient.state.wake_at < inf:
            heapq.heappush(self._timers, (patient.state.wake_at, patient.key))

    def due(self, complete_to: float, patients: dict[bytes, Patient], offset: int) -> list[Patient]:
        """Take out who is to be woken by the tick at ``offset``. Whose state covers that tick keeps their time."""
        due, covered = dict[bytes, Patient](), []
        while self._timers and self._timers[0][0] <= complete_to:
            at, key = heapq.heappop(self._timers)
            patient = patients.get(key)
            if patient is None or at != patient.state.wake_at:
                continue
            if offset <= patient.covered:
                covered.append(patient)
            else:
                due[key] = patient
        for patient in covered:
            self.schedule(patient)
        for patient in due.values():
            patient.state.wake_at = inf
        return list(due.values())
