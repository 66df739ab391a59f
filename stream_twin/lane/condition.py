"""What events say of a patient's condition: whether oxygen is given, and how awake the patient is. Pure.

Consciousness comes as a :class:`~stream_twin.events.Finding`: the question in ``code`` (SNOMED CT 1104441000000107, the ACVPU
scale, or ``consciousness`` of the catalogue), the answer in ``value``, as a word, a letter or a SNOMED CT code; or an answer of
SNOMED CT in ``code`` itself.
"""

from math import inf

from msgspec import Struct

from stream_twin.events import CATALOGUE, Finding, Oxygen

SNOMED_CT = "http://snomed.info/sct"
ACVPU_SCALE = "1104441000000107"
CONSCIOUSNESS = "consciousness"
KEPT = 8
"""Of each kind: so that taking one back leaves what was there before."""
AIR = 0.21

ANSWERS = {
    "a": "alert",
    "c": "confusion",
    "v": "voice",
    "p": "pain",
    "u": "unresponsive",
    "248234008": "alert",
    "130987000": "confusion",
    "300202002": "voice",
    "450847001": "pain",
    "422768004": "unresponsive",
}
"""Source of the codes: HL7 UK, value set Care Connect ACVPU."""
WORDS = frozenset(ANSWERS.values())


class Entry(Struct, array_like=True, gc=False):
    """``value``: ``oxygen``, ``air`` or an answer of ACVPU; ``at``, ``until``: seconds, ``until`` inf where it is open."""

    id: str
    at: float
    until: float
    value: str


class Condition(Struct, omit_defaults=True):
    """The last entries of each kind, by time."""

    oxygen: list[Entry] = []
    consciousness: list[Entry] = []

    def take(self, event: Oxygen | Finding) -> bool:
        """Take an event whose instants are seconds: a later version replaces, an entry in error takes back.

        -> Whether it is of use here.
        """
        entries = self.oxygen if isinstance(event, Oxygen) else self.consciousness
        told = _of_oxygen(event) if isinstance(event, Oxygen) else consciousness_of(event)
        before = next((number for number, entry in enumerate(entries) if entry.id == event.id), None)
        if before is not None:
            del entries[before]
        if told is not None and event.status != "entered-in-error":
            assert not isinstance(event.at, str)
            assert not isinstance(event.until, str)
            entries.append(Entry(event.id, event.at, inf if event.until is None else event.until, told))
            entries.sort(key=lambda entry: (entry.at, entry.id))
            if len(entries) > KEPT:  # the newest open one stays, it may last for weeks
                del entries[entries[0].until == inf and all(entry.until < inf for entry in entries[1:])]
        return told is not None or before is not None

    def oxygen_at(self, at: float) -> tuple[bool, float] | None:
        """Whether oxygen is given at ``at``, and up to when that is told; None where nothing was told.

        What has an end was given until then; after it what was told before goes on, where that has not ended, or else air.
        """
        begun = [entry for entry in self.oxygen if entry.at <= at]
        if not begun:
            return None
        running = next((entry for entry in reversed(begun) if at < entry.until), None)
        told = -inf if running is None else running.at if running.until == inf else at
        if running is not None and running.value == "oxygen":
            return True, told
        return False, max([told, *(entry.until for entry in begun if entry.until <= at)])

    def next_change(self, at: float) -> float:
        """When the first entry begins or ends after ``at``; inf: none does."""
        entries = (*self.oxygen, *self.consciousness)
        return min((moment for entry in entries for moment in (entry.at, entry.until) if moment > at), default=inf)

    def consciousness_at(self, at: float) -> tuple[str, float] | None:
        """The last answer of ACVPU at ``at``, and when it was found."""
        entry = _newest(self.consciousness, at)
        return None if entry is None else (entry.value, entry.at)


def _newest(entries: list[Entry], at: float) -> Entry | None:
    return next((entry for entry in reversed(entries) if entry.at <= at), None)


def _of_oxygen(event: Oxygen) -> str:
    """A flow or fraction that means air is air; an event that says neither means that oxygen is given."""
    if event.fraction is not None:
        return "oxygen" if event.fraction > AIR else "air"
    return "air" if event.flow_l_per_min == 0 else "oxygen"


def consciousness_of(finding: Finding) -> str | None:
    """The answer of ACVPU that a finding gives; None where it is of something else."""
    if finding.code_system == SNOMED_CT and finding.code in ANSWERS:
        return ANSWERS[finding.code]
    if (finding.code_system, finding.code) not in ((SNOMED_CT, ACVPU_SCALE), (CATALOGUE, CONSCIOUSNESS)):
        return None
    answer = str(finding.value).strip().lower()
    return answer if answer in WORDS else ANSWERS.get(answer)
