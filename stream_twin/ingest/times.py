"""Instants of the source topics as seconds since 1970-01-01T00:00:00Z."""

from datetime import datetime

import msgspec

from stream_twin.events import Instant
from stream_twin.ingest import reasons
from stream_twin.ingest.reasons import Rejection

EARLIEST = datetime.fromisoformat("1900-01-01T00:00:00+00:00").timestamp()
LATEST = datetime.fromisoformat("2300-01-01T00:00:00+00:00").timestamp()
"""End of what a plan may name; recordings whose dates are shifted lie in the 22nd century."""
MILLISECONDS = 5e10
"""No plan is in the year 3554, but any moment since August 1971 is later than this in milliseconds."""


def seconds(value: Instant, field: str, latest: float = LATEST) -> float:
    """The instant as seconds, between 1900 and ``latest``.

    Raises:
        Rejection: not an instant, or outside.
    """
    at = value if isinstance(value, float) else _parse(value, field)
    if EARLIEST <= at <= latest:
        return at
    raise _outside(at, value, field, latest)


def optional_seconds(value: Instant | None, field: str, latest: float = LATEST) -> float | None:
    return None if value is None else seconds(value, field, latest)


def written(at: float) -> str:
    """RFC 3339 of seconds, where there is one."""
    try:
        return datetime.fromtimestamp(at, tz=_UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return f"{at:g} s"


def _parse(text: str, field: str) -> float:
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        raise Rejection(
            reasons.TIME_FORMAT,
            f"{field} {reasons.shown(text)} is no time: send seconds since 1970 or RFC 3339 such as 2026-03-01T08:30:00+01:00",
        ) from None
    if moment.tzinfo is None:
        raise Rejection(
            reasons.TIME_WITHOUT_OFFSET, f"{field} {text!r} has no offset from UTC: send {text}Z, or the offset that is meant"
        )
    return moment.timestamp()


def _outside(at: float, value: Instant, field: str, latest: float) -> Rejection:
    if isinstance(value, float) and MILLISECONDS < abs(at) < 1000 * MILLISECONDS:
        return Rejection(
            reasons.TIME_IN_MILLISECONDS,
            f"{field} {value:.17g} looks like milliseconds: send seconds since 1970, {at / 1000:.17g}",
        )
    if at < EARLIEST:
        return Rejection(reasons.TIME_TOO_OLD, f"{field} {written(at)} is before 1900: check the device's clock")
    return Rejection(
        reasons.TIME_IN_FUTURE,
        f"{field} {written(at)} is later than {written(latest)}, the latest accepted: check the device's clock",
    )


_UTC = datetime.fromisoformat("1970-01-01T00:00:00+00:00").tzinfo
