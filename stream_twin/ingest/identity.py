"""Identifiers and the keys of records."""

from stream_twin.ingest import reasons
from stream_twin.ingest.reasons import Rejection, shown

LONGEST = 128
REMEMBERED = 200_000


class Known:
    """Identifiers that were checked with their keys: most records are of a patient who has been seen before."""

    def __init__(self) -> None:
        self._keys: dict[str, bytes] = {}

    def check(self, key: bytes | None, identifier: str) -> None:
        """As :func:`check_key`."""
        if key is not None and self._keys.get(identifier) == key:
            return
        check_key(key, identifier)
        if len(self._keys) >= REMEMBERED:
            self._keys.clear()
        self._keys[identifier] = identifier.encode()


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
    if key != identifier.encode():
        raise Rejection(
            reasons.KEY_MISMATCH,
            f"the record's key {shown(key or b'')} is not its {field} {shown(identifier)}: key it by {field}",
        )
