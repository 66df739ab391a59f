"""What a lane's new owner finds once earlier owners are locked out, and whether it can go on from there."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stream_twin.kafka import state
from stream_twin.kafka.failures import ExitCode, Fatal
from stream_twin.kafka.placing import INPUTS, full_name
from stream_twin.kafka.stages import WorkerSettings


class Found(NamedTuple):
    """``firsts``, ``ends``: offsets that the lane's partitions hold, by topic without prefix."""

    state: state.LaneState
    firsts: Mapping[str, int]
    ends: Mapping[str, int]


def find(settings: WorkerSettings, topics: Sequence[str], lane: int) -> Found:
    """Read ``twin.state``, and look where ``topics`` begin and end.

    Raises:
        KafkaException, TimeoutError: broker away.
        Fatal: written with another number of lanes, or by a later version.
    """
    broker, prefix, suffix = settings.broker, settings.prefix, settings.suffix
    names = {full_name(prefix, topic, suffix): topic for topic in topics}
    parts = [(name, lane) for name in names]
    firsts, ends = broker.first_offsets(parts), broker.end_offsets(parts)
    found = state.read(broker, prefix, lane, suffix)
    if found.sources is not None and found.sources.lanes != settings.partition_count:
        raise Fatal(
            ExitCode.TOPICS,
            f"its state was written with {found.sources.lanes} lanes, but --partition-count is {settings.partition_count}:"
            f" start with --partition-count {found.sources.lanes}",
        )
    return Found(
        found,
        {names[name]: offset for (name, _), offset in firsts.items()},
        {names[name]: offset for (name, _), offset in ends.items()},
    )


def demand(found: Found, positions: Mapping[str, int], lane: int) -> None:
    """Raises Fatal where a topic does not hold the position from which the lane must read on."""
    for topic, position in positions.items():
        first, end = found.firsts[topic], found.ends[topic]
        if first <= position <= end:
            continue
        mend = (
            f"its twins cannot be brought up to date; stream-twin topics show {topic} shows what is left"
            if topic == INPUTS
            else f"stream-twin topics skip-gap --lane {lane} goes on without them and says how many they were"
        )
        what = "were deleted" if position < first else "do not exist, the topic was made anew"
        raise Fatal(
            ExitCode.GAP,
            f"{topic} holds offsets {first} to {end}, but the lane is at {position}: records it needs {what}; {mend}",
        )
