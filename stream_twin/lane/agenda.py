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
        self._alarms: list[tuple[float, bytes]] = []
        """By the lane's clock instead: ends of snoozes and pauses."""

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

    def forget(self, patient: Patient) -> None:
        """Nobody waits for this patient's assessment any more."""
        self.waiting = [due for due in self.waiting if due[0] is not patient]

    def wake(self, patient: Patient, at: float) -> None:
        if at < patient.state.wake_at:
            patient.state.wake_at = at
            self.schedule(patient)

    def plan(self, patient: Patient) -> None:
        """After an assessment or a command: enter when rules and model want to look again."""
        self.wake(patient, patient.next_look())
        self._set_alarm(patient)

    def schedule(self, patient: Patient) -> None:
        """Enter the times that the patient's state names."""
        if patient.state.wake_at < patient.timer_at:  # else an earlier entry leads on to it
            patient.timer_at = patient.state.wake_at
            heapq.heappush(self._timers, (patient.timer_at, patient.key))
        self._set_alarm(patient)

    def _set_alarm(self, patient: Patient) -> None:
        clock_at = patient.state.book.clock_at
        if clock_at != patient.alarm_at:
            patient.alarm_at = clock_at
            if clock_at is not None:
                heapq.heappush(self._alarms, (clock_at, patient.key))

    def due(self, clock: float, complete_to: float, patients: dict[bytes, Patient], offset: int) -> list[Patient]:
        """Take out who is to be woken by the tick at ``offset``. Whose state covers that tick keeps their time."""
        due, covered = dict[bytes, Patient](), dict[bytes, Patient]()
        for heap, now in ((self._timers, complete_to), (self._alarms, clock)):
            while heap and heap[0][0] <= now:
                at, key = heapq.heappop(heap)
                patient = patients.get(key)
                if patient is None or at != (patient.timer_at if heap is self._timers else patient.alarm_at):
                    continue
                if heap is self._timers:
                    patient.timer_at = inf
                    if patient.state.wake_at > at:  # what it was entered for has been looked at meanwhile
                        self.schedule(patient)
                        continue
                (covered if offset <= patient.covered else due)[key] = patient
        for patient in covered.values():
            patient.alarm_at = None
            self.schedule(patient)
        for patient in due.values():
            patient.state.wake_at, patient.alarm_at = inf, None
        return list(due.values())
