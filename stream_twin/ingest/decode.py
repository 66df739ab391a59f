"""Bytes of a source record -> a typed message, or the reason why not."""

import re
from typing import Any, Generic, TypeVar

import msgspec

from stream_twin.ingest import reasons
from stream_twin.ingest.reasons import Rejection, shown

T = TypeVar("T")

WHITESPACE = b" \t\n\r"
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_NOT_FINITE = re.compile(rb"(?<!\w)-?(?:nan|inf(?:inity)?)\b", re.IGNORECASE)
_GOT = re.compile(r"got `\w+`$")


class Decoder(Generic[T]):
    """Decodes records of one kind of message (or a union of tagged ones)."""

    def __init__(self, kind: Any, max_bytes: int, max_depth: int) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._max_bytes = max_bytes
        self._max_depth = max_depth

    def __call__(self, value: bytes | None) -> T:
        """Decode a record's value.

        Raises:
            Rejection: with the reason.
        """
        if not value:
            raise _nothing(value)
        if len(value) > self._max_bytes:
            raise Rejection(
                reasons.TOO_LARGE,
                f"the value has {len(value)} bytes, at most {self._max_bytes} are accepted: split it into several records",
            )
        if not value.isascii():
            _check_utf8(value)
        # Each level opens a bracket, so few brackets cannot be deep and the usual record is done with two counts.
        if value.count(b"{") + value.count(b"[") > self._max_depth:
            self._check_depth(value)
        try:
            message: T = self._decode(value)
        except msgspec.ValidationError as error:
            raise _explained(str(error)) from None
        except msgspec.DecodeError as error:
            raise _malformed(value, str(error)) from None
        return message

    def _check_depth(self, value: bytes) -> None:
        depth = 0
        for bracket in re.findall(rb"[\[\]{}]", _STRING.sub(b"", value)):
            depth += 1 if bracket in b"[{" else -1
            if depth > self._max_depth:
                raise Rejection(reasons.TOO_DEEP, f"the value is nested deeper than {self._max_depth} levels: flatten it")


def _nothing(value: bytes | None) -> Rejection:
    if value is None:
        return Rejection(
            reasons.TOMBSTONE,
            "a record without a value means nothing here: to take something back send it again with status entered-in-error, "
            "to end a patient's monitoring send the profile with state discharged",
        )
    return Rejection(reasons.EMPTY, "the value has no bytes: send a JSON object")


def _check_utf8(value: bytes) -> None:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise Rejection(
            reasons.NOT_UTF8, f"byte {value[error.start]:#04x} at {error.start} is not UTF-8: encode the text as UTF-8"
        ) from None


def _malformed(value: bytes, error: str) -> Rejection:
    outside_strings = _STRING.sub(b'""', value)
    found = _NOT_FINITE.search(outside_strings)
    if found is not None and outside_strings.lstrip(WHITESPACE)[:1] in (b"{", b"["):
        token = found[0].decode()
        return Rejection(
            reasons.NOT_FINITE,
            f"{token} is no number of JSON: leave the value out and say why in absent_reason (in a series: null)",
        )
    return Rejection(
        reasons.NOT_JSON, f"{error[:1].lower()}{error[1:]}; it starts with {shown(value[:40])}: send one JSON object"
    )


def _explained(error: str) -> Rejection:
    """msgspec's message as one of our reasons."""
    what, at, path = error.rpartition(" - at `")
    if at and path.find("`") == len(path) - 1:
        path = path[:-1].removeprefix("$").removeprefix(".")
    else:
        what, path = error, ""
    field = path or "the message"
    if what == "Number out of range":
        return Rejection(
            reasons.NOT_FINITE, f"{field} is too large for a number of 64 bits: leave it out and say why in absent_reason"
        )
    if what.startswith("Object missing required field"):
        within = f" in {path}" if path else ""
        return Rejection(reasons.MISSING_FIELD, f"field {what.split('`')[1]} is missing{within}: it is required")
    sentence = f"{field}: {what[:1].lower()}{what[1:]}"
    if _GOT.search(what) or (what.startswith("Expected `str`") and not what.startswith("Expected `str` of")):
        return Rejection(reasons.WRONG_TYPE, sentence)
    if path == "version":
        return Rejection(reasons.VERSION, f"{sentence}: versions count from 1")
    if path.split(".")[-1] in {"id", "patient_id", "device_id", "place", "cohort", "code", "alert_id", "by"}:
        return Rejection(reasons.IDENTIFIER, f"{sentence}: between 1 and 128 characters")
    return Rejection(reasons.INVALID_VALUE, sentence)
