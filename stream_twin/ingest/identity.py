"""Identifiers and the keys of records."""

from stream_twin.events import SERVICE
from stream_twin.ingest import reasons
from stream_twin.ingest.reasons import Rejection, shown

LONGEST = 128
REMEMBERED = 200_000


class Known:
    """Identifiers that were found to be good: most records are of a patient and a device that have been seen before.

    ``keys``: by patient.
    """

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.devices: set[str] = set()

    def patient(self, key: bytes | None, identifier: str) -> None:
        """As :func:`check_key`."""
        check_key(key, identifier)
        if len(self.keys) >= REMEMBERED:
            self.keys.clear()
        self.keys[identifier] = identifier.encode()

    def device(self, identifier: str) -> None:
        """As :func:`check_identifier`."""
        check_identifier(identifier, "device_id")
        if len(self.devices) >= REMEMBERED:
            self.devices.clear()
        self.devices.add(identifier)


def check_identifier(identifier: str, field: str) -> None:
    """Refuse what two people would read as the same identifier: padding and characters that do not print."""
    if not 0 < len(identifier) <= LONGEST:
        raise Rejection(
            reasons.IDENTIFIER,
            f"{field} {shown(identifier)} has {len(identifier)} characters: between 1 and {LONGEST} are accepted",
        )
    if not identifier.isprintable() or identifier[0] == " " or identifier[-1] == " ":
        raise Rejection(
            reasons.IDENTIFIER, f"{field} {shown(identifier)} has blanks around it or characters that do not print: remove them"
        )


def check_key(key: bytes | None, identifier: str, field: str = "patient_id") -> None:
    """The record's key decides whose lane it goes to, so it must be the identifier itself."""
    check_identifier(identifier, field)
    if identifier == SERVICE and field == "patient_id":
        raise Rejection(reasons.IDENTIFIER, f"{field} {SERVICE!r} is what alerts about the service itself go by: use another one")
    if key != identifier.encode():
        raise Rejection(
            reasons.KEY_MISMATCH,
            f"the record's key {shown(key or b'')} is not its {field} {shown(identifier)}: key it by {field}",
        )
