"""All that a lane's log says of one patient: what the twin accepted, what happened, who it is. Pure."""

import msgspec

from stream_twin.events import (
    AnyInput,
    EnvironmentSample,
    Happened,
    Outcome,
    OutcomeKnown,
    PatientBody,
    Profile,
    ProfileSet,
    RebuiltBase,
)
from stream_twin.lane.lane import Checkpoint, Record
from stream_twin.lane.patient import INPUT, Accepted, Snapshot
from stream_twin.lane.rebuild import in_order
from stream_twin.lane.rebuilder import Replay
from stream_twin.signals import Catalogue
from stream_twin.twin.model import PopulationModel

_decode = msgspec.json.Decoder(AnyInput).decode
AIR = b'{"type":"environment"'


class Chart:
    """Feed it the lane's log from its start; records of others are passed over.

    A sample that came too late for the twin is in it as well: see :mod:`stream_twin.lane.rebuild`. Of corrections the last
    counts, and what was taken back is not there.

    Args:
        known: the patient's snapshot in ``twin.state``, for who it is and which devices it has where the log from then is gone.
    """

    def __init__(self, catalogue: Catalogue, key: bytes, known: bytes | None = None) -> None:
        self._key = key
        self._replay = Replay(catalogue, Checkpoint(), key, None)
        if known is not None:
            self._replay.introduce(msgspec.msgpack.decode(known, type=Snapshot).state)
        self._events: dict[str, PatientBody] = {}
        self._profiles: list[Profile] = []
        self.outcomes: dict[str, Outcome] = {}
        self._air: dict[str, dict[str, dict[float, float]]] = {}

    def feed(self, record: Record) -> None:
        value = record.value or b""
        if record.key == self._key:
            entry = _decode(value)
            if isinstance(entry, Happened):
                known = self._events.get(entry.event.id)
                if known is None or entry.event.version > known.version:
                    self._events[entry.event.id] = entry.event
            elif isinstance(entry, ProfileSet):
                self._profiles.append(entry.profile)
            elif isinstance(entry, OutcomeKnown):
                self.outcomes[entry.outcome.id] = entry.outcome
            elif isinstance(entry, RebuiltBase):
                return
        elif not record.key and value.startswith(AIR):
            entry = _decode(value)
            assert isinstance(entry, EnvironmentSample)
            if entry.value is not None:
                self._air.setdefault(entry.place, {}).setdefault(entry.signal, {})[entry.at] = entry.value
        self._replay.feed(record)

    @property
    def clock(self) -> float:
        """The lane's, at the end of what was fed."""
        self._replay.catch_up()
        return self._replay.clock

    @property
    def measured_until(self) -> float:
        """When the last sample was taken; the lane's clock where there is none."""
        self._replay.catch_up()
        return max((sample.at for sample in self._replay.gathered if sample.device != INPUT), default=self._replay.clock)

    @property
    def profile(self) -> Profile | None:
        """The newest that counts; None for who is not known."""
        patient = self._replay.patients.get(self._key)
        return None if patient is None else patient.state.profile

    @property
    def population(self) -> PopulationModel:
        """The model by which the twin follows the patient."""
        return self._replay.patients[self._key].population

    @property
    def events(self) -> list[PatientBody]:
        """What happened, in order of time; without what was entered in error."""
        happened = (event for event in self._events.values() if event.status != "entered-in-error")
        return sorted(happened, key=lambda event: (event.at, event.id))

    def samples(self) -> list[Accepted]:
        """In order of time, each once; without what was taken back."""
        self._replay.catch_up()
        return [sample for sample in in_order(self._replay.gathered) if sample.value == sample.value]  # not NaN

    def air(self) -> dict[str, list[tuple[float, float]]]:
        """What was measured at the patient's place: signal -> (measured at, value), in order of time."""
        profile = self.profile
        if profile is None or profile.place is None:
            return {}
        return {signal: sorted(values.items()) for signal, values in self._air.get(profile.place, {}).items()}
