"""Why a record is refused: a short constant for metrics and filters, and a sentence for people."""

from typing import Final

TOMBSTONE: Final = "tombstone"
EMPTY: Final = "empty"
TOO_LARGE: Final = "too_large"
TOO_DEEP: Final = "too_deep"
NOT_UTF8: Final = "not_utf8"
NOT_JSON: Final = "not_json"
NOT_FINITE: Final = "not_finite"
WRONG_TYPE: Final = "wrong_type"
MISSING_FIELD: Final = "missing_field"
INVALID_VALUE: Final = "invalid_value"
"""Not one of the allowed words, or outside the bounds that the schema gives."""
VERSION: Final = "version"
IDENTIFIER: Final = "identifier"
"""Empty, too long, padded with blanks, or with characters that cannot be printed."""
KEY_MISMATCH: Final = "key_mismatch"
UNKNOWN_CODE: Final = "unknown_code"
UNKNOWN_UNIT: Final = "unknown_unit"
OUT_OF_RANGE: Final = "out_of_range"
NO_VALUE: Final = "no_value"
"""Neither a value nor a reason why there is none, or both."""
TIME_FORMAT: Final = "time_format"
TIME_WITHOUT_OFFSET: Final = "time_without_offset"
TIME_IN_MILLISECONDS: Final = "time_in_milliseconds"
TIME_TOO_OLD: Final = "time_too_old"
TIME_IN_FUTURE: Final = "time_in_future"
WHEN: Final = "when"
"""Neither or more than one statement of when it was measured."""
PERIOD_REVERSED: Final = "period_reversed"
SERIES_EMPTY: Final = "series_empty"
SERIES_TOO_LONG: Final = "series_too_long"
SERIES_LENGTHS: Final = "series_lengths"
TIME_ZONE: Final = "time_zone"

REASONS: Final = frozenset(value for name, value in list(globals().items()) if name.isupper())


LONGEST_DETAIL = 400


class Rejection(Exception):
    """Ends a record's way: ``reason`` of :data:`REASONS`, ``detail`` a sentence: the thing, its value, the way out."""

    def __init__(self, reason: str, detail: str) -> None:
        detail = printable(detail[:LONGEST_DETAIL])  # it may quote what came
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def printable(text: str) -> str:
    """Characters that control a terminal, or the direction of writing, as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(value: str | bytes, length: int = 60) -> str:
    """A value for a sentence: quoted, printable, never long."""
    return ascii(value) if len(value) <= length else ascii(value[:length]) + "..."
