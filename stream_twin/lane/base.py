"""What the lanes of a new generation start from, made of what those of the last one ended with."""

from collections.abc import Mapping

import msgspec

from stream_twin.lane.lane import SCHEMA, Checkpoint


def base_of(number: int, ended: Mapping[int, bytes]) -> bytes:
    """The checkpoint that lane ``number`` of a new generation starts from; ``ended``: the last of each lane before, by number.

    Each log was applied to its end, so what one lane knew of the whole service holds for all. Only the state of a lane's own
    alert goes by its number.

    Raises:
        ValueError: written by another schema.
    """
    before = {lane: msgspec.msgpack.decode(checkpoint, type=Checkpoint) for lane, checkpoint in ended.items()}
    if other := [lane for lane, own in before.items() if own.schema != SCHEMA]:
        raise ValueError(f"lane {other[0]} was written with schema {before[other[0]].schema}; this version reads {SCHEMA}")
    base = Checkpoint()
    for own in sorted(before.values(), key=lambda own: own.clock):
        base.clock, base.settings = own.clock, own.settings
        base.complete_to = max(base.complete_to, own.complete_to)
        for cohort, model in own.models.items():
            if cohort not in base.models or model.version > base.models[cohort].version:
                base.models[cohort] = model
        for place, signals in own.places.items():
            known = base.places.setdefault(place, {})
            for signal, measured in signals.items():
                known[signal] = max(known.get(signal, measured), measured)
    if number in before:
        base.service = before[number].service
    return msgspec.msgpack.encode(base)
