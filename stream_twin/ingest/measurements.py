"""Observations, series and the environment's observations -> samples in canonical units."""

from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta, Raw, Struct

from stream_twin.events import (
    CATALOGUE,
    LOINC,
    DeviceKind,
    EnvironmentObservation,
    EnvironmentSample,
    Identifier,
    Instant,
    Measured,
    Observation,
    Sample,
    SampleSeries,
    Series,
)
from stream_twin.ingest import reasons
from stream_twin.ingest.decode import WHITESPACE
from stream_twin.ingest.identity import Known, check_identifier, check_key
from stream_twin.ingest.origin import Origin
from stream_twin.ingest.reasons import Rejection, shown
from stream_twin.ingest.times import EARLIEST, optional_seconds, seconds
from stream_twin.signals import Catalogue

RETRACTED = "entered-in-error"
USUAL_BYTES = 1000
UNUSUAL_RUN = 8
"""After an observation that is not :class:`Usual`, so many are not tried: some producers send none that is."""


class Usual(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """An :class:`~stream_twin.events.Observation` with the fields that nearly all have, and no others."""

    type: Literal["observation"]  # as a tag it could be missing
    id: Identifier
    patient_id: str
    code: str
    code_system: str = LOINC
    unit: Annotated[str, Meta(max_length=32)]
    device_id: str | None = None
    value: float
    measured_at: float


class Meaning(NamedTuple):
    """What a code in a unit means: canonical value = value * factor + offset, plausible from low to high."""

    signal: str
    unit: str
    factor: float
    offset: float
    low: float
    high: float
    from_laboratory: bool
    of_environment: bool


class Dictionary:
    """Every accepted triple of code system, code and unit with its meaning."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.meanings: dict[tuple[str, str, str], Meaning] = {}
        for signal in catalogue.signals.values():
            for system, codes in {CATALOGUE: [signal.name], **signal.codes}.items():
                for code in codes:
                    for unit, (factor, offset) in {**signal.units, signal.unit: (1.0, 0.0)}.items():
                        self.meanings[system, code, unit] = Meaning(
                            signal.name,
                            signal.unit,
                            factor,
                            offset,
                            *signal.plausible,
                            from_laboratory=signal.scale in {"molecular", "cellular"},
                            of_environment=signal.scale == "environment",
                        )

    def find(self, system: str, code: str, unit: str) -> Meaning:
        """Raises Rejection: the code is unknown, or the code does not come in this unit."""
        meaning = self.meanings.get((system, code, unit))
        if meaning is not None:
            return meaning
        signal = self._catalogue.find(system, code)
        if signal is None:
            raise Rejection(
                reasons.UNKNOWN_CODE,
                f"code {shown(code)} of {shown(system)} is unknown: use one of topics/signals.json, or add it there",
            )
        accepted = ", ".join([signal.unit, *signal.units])
        raise Rejection(reasons.UNKNOWN_UNIT, f"{signal.name} in unit {shown(unit)} is not understood: use one of {accepted}")


class Measurements:
    """Turns the observations of one topic into samples. ``series_kind`` None: as single ones."""

    def __init__(
        self,
        dictionary: Dictionary,
        kind: DeviceKind,
        laboratory_kind: DeviceKind,
        series_kind: DeviceKind | None,
        max_samples: int,
    ) -> None:
        self._find = dictionary.find
        self._kind = kind
        self._laboratory_kind = laboratory_kind
        self._series_kind = series_kind
        self._max_samples = max_samples
        self._known = Known()
        self._meanings = dictionary.meanings
        self._decode_usual = msgspec.json.Decoder(Usual).decode
        self._not_tried = 0

    def usual(self, value: bytes | None, key: bytes | None, offset: int, arrived_at: float, latest: float) -> Sample | None:
        """What decoding and :meth:`sample` give, in half the time, for an observation like most of them; None: judge it by those.

        Like most is who has a patient and a device that came before, only usual fields, and nothing wrong.
        """
        if self._not_tried:
            self._not_tried -= 1
            return None
        if not value or len(value) > USUAL_BYTES or not value.isascii():
            return None
        try:
            body = self._decode_usual(value)
        except msgspec.MsgspecError:
            self._not_tried = UNUSUAL_RUN
            return None
        meaning = self._meanings.get((body.code_system, body.code, body.unit))
        known, identity, device, at = self._known, body.id, body.device_id, body.measured_at
        if (
            meaning is None
            or key is None
            or known.keys.get(body.patient_id) != key
            or (device is not None and device not in known.devices)
            or not identity.isprintable()
            or identity[0] == " "
            or identity[-1] == " "
            or not EARLIEST <= at <= latest
        ):
            return None
        measured = body.value * meaning.factor + meaning.offset
        if not meaning.low <= measured <= meaning.high:
            return None
        kind = self._laboratory_kind if meaning.from_laboratory else self._kind
        return Sample(offset, arrived_at, Raw(value.strip(WHITESPACE)), identity, meaning.signal, at, measured, device, kind)

    def _measured(self, body: Measured, key: bytes | None, latest: float) -> tuple[Meaning, float | None]:
        """What a single observation and a series have in common: what the code means, and when the result became known."""
        known, device = self._known, body.device_id
        if key is None or known.keys.get(body.patient_id) != key:
            known.patient(key, body.patient_id)
        if device is not None and device not in known.devices:
            known.device(device)
        identity = body.id
        if not identity.isprintable() or identity[0] == " " or identity[-1] == " ":  # its length the decoder has checked
            check_identifier(identity, "id")
        meaning = self._find(body.code_system, body.code, body.unit)
        if body.received_at is not None:
            seconds(body.received_at, "received_at", latest)
        return meaning, optional_seconds(body.issued_at, "issued_at", latest)

    def sample(
        self, body: Observation, key: bytes | None, offset: int, arrived_at: float, original: Raw, latest: float
    ) -> Sample:
        """The observation in a source record of this key, offset, arrival and value; ``latest``: what it may claim at most.

        Raises:
            Rejection: with the reason.
        """
        meaning, known_at = self._measured(body, key, latest)
        at, period_s = body.measured_at, 0.0
        if body.period is not None:
            at, period_s = _period(body, latest)
        elif at is None:
            raise Rejection(reasons.WHEN, "neither measured_at nor period says when it was measured: send one of them")
        else:
            at = seconds(at, "measured_at", latest)
        value = body.value
        retracted = body.status == RETRACTED
        if retracted:
            value = None
        elif value is None:
            if body.absent_reason is None:
                raise Rejection(
                    reasons.NO_VALUE, f"{meaning.signal} has no value: send one, or say in absent_reason why there is none"
                )
        elif body.absent_reason is not None:
            raise Rejection(
                reasons.NO_VALUE,
                f"{meaning.signal} has value {value:g} and a reason for having none, {shown(body.absent_reason)}: send one",
            )
        else:
            value = value * meaning.factor + meaning.offset
            if not meaning.low <= value <= meaning.high:
                raise _implausible(meaning, body, body.value, value, "")
        return Sample(
            offset,
            arrived_at,
            original,
            body.id,
            meaning.signal,
            at,
            value,
            body.device_id,
            body.device_kind or (self._laboratory_kind if meaning.from_laboratory else self._kind),
            body.version,
            period_s,
            retracted,
            known_at,
            body.comparator,
            body.on_oxygen,
            body.quality,
            body.body_position,
            body.method,
        )

    def series(self, body: Series, origin: Origin) -> SampleSeries:
        """Raises Rejection."""
        meaning, _ = self._measured(body, origin.key, origin.latest)
        n = len(body.values)
        if n == 0:
            raise Rejection(reasons.SERIES_EMPTY, "the series has no values: send nothing instead")
        if n > self._max_samples:
            raise Rejection(
                reasons.SERIES_TOO_LONG, f"the series has {n} values, at most {self._max_samples} are accepted: split it"
            )
        at = _times(body, n, origin.latest)
        values: list[float | None]
        retracted = body.status == RETRACTED
        if retracted:
            values = [None] * n
        else:
            factor, offset = meaning.factor, meaning.offset
            values = [None if value is None else value * factor + offset for value in body.values]
            present = [value for value in values if value is not None]
            if present and not (meaning.low <= min(present) and max(present) <= meaning.high):
                for i, value in enumerate(values):
                    if value is not None and not meaning.low <= value <= meaning.high:
                        raise _implausible(meaning, body, body.values[i], value, f" at values[{i}]")
            if len(present) < n:
                origin.counts["absent", origin.source.topic] += n - len(present)
        return SampleSeries(
            source=origin.source,
            arrived_at=origin.arrived_at,
            original=origin.original,
            id=body.id,
            signal=meaning.signal,
            at=at,
            values=values,
            device=body.device_id,
            kind=body.device_kind or self._series_kind or (self._laboratory_kind if meaning.from_laboratory else self._kind),
            version=body.version,
            retracted=retracted,
            on_oxygen=body.on_oxygen,
            quality=body.quality,
        )


def _period(body: Observation, latest: float) -> tuple[float, float]:
    """Its end, and how long it is."""
    assert body.period is not None
    if body.measured_at is not None:
        raise Rejection(reasons.WHEN, "both measured_at and period say when it was measured: send one of them")
    start = seconds(body.period.start, "period.start", latest)
    end = seconds(body.period.end, "period.end", latest)
    if end < start:
        raise Rejection(reasons.PERIOD_REVERSED, f"period ends {start - end:g} s before it starts: swap start and end")
    return end, end - start


def environment_sample(body: EnvironmentObservation, origin: Origin, dictionary: Dictionary) -> EnvironmentSample:
    """Raises Rejection."""
    check_key(origin.key, body.place, "place")
    check_identifier(body.id, "id")
    meaning = dictionary.find(body.code_system, body.code, body.unit)
    if not meaning.of_environment:
        raise Rejection(
            reasons.UNKNOWN_CODE, f"{meaning.signal} is measured in a person, not in a place: send it on another topic"
        )
    at = seconds(body.measured_at, "measured_at", origin.latest)
    value = body.value
    if (value is None) == (body.absent_reason is None):
        raise Rejection(reasons.NO_VALUE, f"{meaning.signal} needs either a value or absent_reason, and not both")
    if value is None:
        origin.counts["absent", origin.source.topic] += 1
    else:
        value = value * meaning.factor + meaning.offset
        if not meaning.low <= value <= meaning.high:
            raise _implausible(meaning, body, body.value, value, "")
    return EnvironmentSample(
        source=origin.source,
        arrived_at=origin.arrived_at,
        original=origin.original,
        place=body.place,
        signal=meaning.signal,
        at=at,
        value=value,
    )


def _times(body: Series, n: int, latest: float) -> list[float]:
    if body.measured_at is not None:
        if body.start is not None or body.interval_s is not None:
            raise Rejection(reasons.WHEN, "both measured_at and start with interval_s say when it was measured: send one of them")
        given: list[Instant] = body.measured_at
        if len(given) != n:
            raise Rejection(
                reasons.SERIES_LENGTHS, f"the series has {n} values and {len(given)} times: send as many of one as of the other"
            )
        return [seconds(at, f"measured_at[{i}]", latest) for i, at in enumerate(given)]
    if body.start is None or body.interval_s is None:
        raise Rejection(reasons.WHEN, "neither measured_at nor start with interval_s says when it was measured: send one of them")
    start, interval = seconds(body.start, "start", latest), body.interval_s
    seconds(start + (n - 1) * interval, f"time of values[{n - 1}]", latest)
    return [start + i * interval for i in range(n)]


def _implausible(
    meaning: Meaning, body: Measured | EnvironmentObservation, sent: float | None, value: float, where: str
) -> Rejection:
    device = getattr(body, "device_id", None)
    said = f"{meaning.signal} {sent:.10g} {body.unit}{where}" + (f" from device {shown(device)}" if device else "")
    canonical = "" if body.unit == meaning.unit else f" = {value:.6g} {meaning.unit}"
    return Rejection(
        reasons.OUT_OF_RANGE,
        f"{said}{canonical} is outside {meaning.low:g} to {meaning.high:g} {meaning.unit}: check unit and sensor",
    )
