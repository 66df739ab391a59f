"""Topics on a broker: create them, compare them with the catalogue, show them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import OffsetOutOfRangeError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import OffsetAndMetadata
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from stream_twin import topics
from stream_twin.clock import elapsed, wall
from stream_twin.kafka import state, unpacking
from stream_twin.kafka.broker import TIMEOUT_S, Broker, Part
from stream_twin.kafka.failures import FENCED, ExitCode, Fatal, is_away
from stream_twin.kafka.outbox import DEAD_LETTERS, Outbox, Transactions
from stream_twin.kafka.placing import full_name, generation_among, suffix_of
from stream_twin.kafka.stages import WorkerSettings

COMPARED = ("cleanup.policy", "retention.ms", "max.message.bytes", "segment.bytes", "segment.ms")
"""What :func:`check` insists on, besides whatever else the catalogue gives."""
USABLE_WITHIN_S = 30.0
SKIP_TRIES = 10
_NOT_YET = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC}
"""The last two are librdkafka's own: the metadata that it has seen does not name the partition."""


@dataclass(frozen=True)
class Difference:
    """``topic`` with prefix. ``found`` None: there is no such topic. ``mend``: the command that puts it right, or what to do."""

    topic: str
    what: str
    wanted: str
    found: str | None
    mend: str

    def __str__(self) -> str:
        found = "missing" if self.found is None else f"{self.what} is {self.found}, wanted {self.wanted}"
        return f"{self.topic}: {found}: {self.mend}"


@dataclass(frozen=True)
class TopicState:
    """``records`` are offsets between first and end, markers of transactions included."""

    topic: str
    summary: str
    partitions: int
    replicas: int
    records: int


def create(broker: Broker, prefix: str, lanes: int, replication: int = 1) -> list[str]:
    """Make what is missing and set the configuration of what is there; names of the topics made.

    Raises:
        KafkaException: refused; nothing is ever deleted or given more partitions.
    """
    admin, made = broker.admin, []
    suffix = suffix_of(admin.list_topics(timeout=TIMEOUT_S).topics, prefix, lanes)
    names = {topic.name: full_name(prefix, topic.name, suffix) for topic in topics.TOPICS}
    wanted = [NewTopic(names[topic.name], lanes, replication, config=topic.kafka_config) for topic in topics.TOPICS]
    for name, future in admin.create_topics(wanted, operation_timeout=TIMEOUT_S).items():
        try:
            future.result()
            made.append(name)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    old = [topic for topic in topics.TOPICS if names[topic.name] not in made]
    changes = [
        ConfigResource(
            ResourceType.TOPIC,
            names[topic.name],
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in topic.kafka_config.items()
            ],
        )
        for topic in old
    ]
    for future in admin.incremental_alter_configs(changes).values() if changes else ():
        future.result()
    wait_until_usable(broker, [(name, number) for name in names.values() for number in range(lanes)])
    return made


def wait_until_usable(broker: Broker, parts: list[Part]) -> None:
    """A broker names leaders of new partitions a little before they lead, and not every broker of a cluster knows them at once.

    Raises:
        KafkaException: they still did not lead after :data:`USABLE_WITHIN_S`, or something else is wrong.
    """
    until = elapsed() + USABLE_WITHIN_S
    while True:
        try:
            broker.admin.list_topics(timeout=TIMEOUT_S)
            broker.end_offsets(parts)
            return
        except KafkaException as error:
            if not (is_away(error) or error.args[0].code() in _NOT_YET) or elapsed() > until:
                raise
            time.sleep(0.1)


def check(broker: Broker, prefix: str, lanes: int) -> list[Difference]:
    """How the broker's topics differ from what a worker of so many lanes needs; empty: not at all.

    Raises:
        KafkaException: broker away.
    """
    admin = broker.admin
    found = admin.list_topics(timeout=TIMEOUT_S).topics
    options = f"--broker {broker.address}" + (f" --prefix {prefix}" if prefix else "") + f" --partition-count {lanes}"
    mend = f"stream-twin topics create {options}"
    suffix = suffix_of(found, prefix, lanes)
    differences, there = [], []
    for topic in topics.TOPICS:
        name = full_name(prefix, topic.name, suffix)
        if name not in found:
            differences.append(Difference(name, "topic", f"{lanes} partitions", None, mend))
            continue
        there.append(topic)
        if (partitions := len(found[name].partitions)) != lanes:
            other = f"start with --partition-count {partitions}"
            other += f", or run stream-twin topics grow {options}" if lanes > partitions else ""
            differences.append(Difference(name, "partition count", str(lanes), str(partitions), other))
    if broker.is_embedded:
        return differences
    resources = {topic.name: ConfigResource(ResourceType.TOPIC, full_name(prefix, topic.name, suffix)) for topic in there}
    configs = admin.describe_configs(list(resources.values())) if resources else {}
    for topic in there:
        try:
            entries = configs[resources[topic.name]].result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
            name = full_name(prefix, topic.name, suffix)
            differences.append(Difference(name, "topic", f"{lanes} partitions", None, mend))  # deleted just now
            continue
        for setting, value in topic.kafka_config.items():
            entry = entries.get(setting)
            if entry is not None and entry.value != value:
                name = full_name(prefix, topic.name, suffix)
                differences.append(Difference(name, setting, value, str(entry.value), mend))
    return differences


def demand(broker: Broker, prefix: str, lanes: int) -> str:
    """What the names of the lanes' log and state end with. Raises Fatal, with what mends it, where topics are wrong."""
    if differences := check(broker, prefix, lanes):
        missing = [difference.topic for difference in differences if difference.found is None]
        lines = [str(difference) for difference in differences if difference.found is not None]
        if missing:
            mend = next(difference.mend for difference in differences if difference.found is None)
            lines.insert(0, f"missing: {', '.join(missing)}: {mend}")
        raise Fatal(ExitCode.TOPICS, "topics are not as they must be:\n  " + "\n  ".join(lines))
    return suffix_of(broker.admin.list_topics(timeout=TIMEOUT_S).topics, prefix, lanes)


def show(broker: Broker, prefix: str, only: Iterable[str] | None = None) -> list[TopicState]:
    """The catalogue's topics that exist, in its order."""
    admin = broker.admin
    found = admin.list_topics(timeout=TIMEOUT_S).topics
    names = set(only) if only is not None else None
    grown = generation_among(found, prefix)
    full = {topic.name: full_name(prefix, topic.name, grown.suffix if grown else "") for topic in topics.TOPICS}
    there = [topic for topic in topics.TOPICS if full[topic.name] in found and (names is None or topic.name in names)]
    partitions = [(full[topic.name], number) for topic in there for number in found[full[topic.name]].partitions]
    first, end = broker.first_offsets(partitions), broker.end_offsets(partitions)
    return [
        TopicState(
            name,
            topic.summary,
            len(found[name].partitions),
            len(next(iter(found[name].partitions.values())).replicas),
            sum(end[name, number] - first[name, number] for number in found[name].partitions),
        )
        for topic in there
        for name in [full[topic.name]]
    ]


async def skip_gap(settings: WorkerSettings, lane: int) -> dict[str, int]:
    """Let ``lane`` go on where its sources have lost records that it had not read; how many offsets, by topic.

    Locks a running owner of the lane out, which opens it again.
    """
    async with _lane_of(settings, lane) as (known, transactions):
        if known is None:
            return {}
        parts = [(settings.prefix + topic, lane) for topic in known.positions]
        first, end = settings.broker.first_offsets(parts), settings.broker.end_offsets(parts)
        positions, skipped = dict(known.positions), {}
        for topic, position in known.positions.items():
            part = settings.prefix + topic, lane
            if not first[part] <= position <= end[part]:
                positions[topic] = first[part]
                skipped[topic] = max(first[part] - position, 0)
        if skipped:
            await _go_on(settings, lane, transactions, known, positions, Outbox())
        return skipped


async def skip(settings: WorkerSettings, lane: int, topic: str, offset: int) -> range:
    """Let ``lane`` pass over a batch of a source that cannot be read; the offsets, of each of which there is a dead letter now.

    The first letter carries the batch as the broker has it. Locks a running owner of the lane out, which opens it again, and
    so locks us out if it is quicker: then this is tried again.

    Raises:
        Fatal: that batch can be read, or the lane is not there, or its owner was always quicker; nothing was written.
    """
    for number in range(SKIP_TRIES):
        try:
            return await _skip(settings, lane, topic, offset)
        except FENCED:
            await asyncio.sleep(0.1 * (number + 1))  # not in step with it
    raise Fatal(ExitCode.FENCED, f"the worker of lane {lane} opened it again each time: stop it, run this, and start it again")


async def _skip(settings: WorkerSettings, lane: int, topic: str, offset: int) -> range:
    tp = TopicPartition(settings.prefix + topic, lane)
    batch = unpacking.batch_at(tp, await fetch(settings.broker, tp, offset), offset)
    async with _lane_of(settings, lane) as (known, transactions):
        at = known.positions.get(topic) if known else None
        if known is None or at != offset:
            where = "has not begun" if at is None else f"is at offset {at}, not {offset},"
            raise Fatal(ExitCode.USAGE, f"lane {lane} {where} of {tp.topic}: its worker's log names topic and offset")
        if batch is None or batch.error is None:
            what = "can be read" if batch else "is not there"
            raise Fatal(ExitCode.USAGE, f"{tp.topic}/{lane} {what} at offset {offset}: nothing to pass over")
        skipped, letters = range(offset, batch.offset + 1), Outbox()
        for number in skipped:
            told = {"reason": "unreadable", "detail": str(batch.error), "stage": "ingest", "topic": topic, "partition": lane}
            told |= {"offset": number, "at": round(wall() * 1000)}
            value = batch.raw if number == offset else b""
            letters.put(DEAD_LETTERS, lane, b"", value, tuple((name, str(text).encode()) for name, text in told.items()))
        await _go_on(settings, lane, transactions, known, {**known.positions, topic: skipped.stop}, letters)
        return skipped


@asynccontextmanager
async def _lane_of(settings: WorkerSettings, lane: int) -> AsyncIterator[tuple[state.Sources | None, Transactions]]:
    """The lane's place in its sources, with whoever owned it locked out."""
    suffix = suffix_of(settings.broker.admin.list_topics(timeout=TIMEOUT_S).topics, settings.prefix, settings.partition_count)
    name = f"{settings.group}-{lane}"
    transactions = Transactions(settings.broker, settings.prefix, name, settings.commit_timeout_s, suffix)
    await transactions.open()
    try:
        yield state.read(settings.broker, settings.prefix, lane, suffix).sources, transactions
    finally:
        await transactions.close()


async def _go_on(
    settings: WorkerSettings,
    lane: int,
    transactions: Transactions,
    known: state.Sources,
    positions: dict[str, int],
    outbox: Outbox,
) -> None:
    record = state.Sources(lanes=known.lanes, positions=positions, emitted=known.emitted)
    outbox.put(state.TOPIC, lane, state.SOURCES, state.encode(record))
    offsets = {
        TopicPartition(settings.prefix + topic, lane): OffsetAndMetadata(offset, "") for topic, offset in positions.items()
    }
    await transactions.write(outbox, offsets, settings.group)


async def fetch(broker: Broker, tp: TopicPartition, offset: int) -> bytes:
    """Batches of a partition from the one on that holds ``offset``, as the broker has them: at least one, if there is one.

    Raises:
        KafkaError: broker away, or no such partition.
    """
    client = AIOKafkaClient(bootstrap_servers=broker.address, **broker.aiokafka)
    try:
        await client.bootstrap()
        await client.set_topics([tp.topic])
        leader = client.cluster.leader_for_partition(tp)
        size = 1 << 20
        request = FetchRequest(500, 1, size, 0, [(tp.topic, [(tp.partition, offset, size)])])
        response = await client.send(leader, request)
    finally:
        await client.close()
    [(_, [(_, error, _, *rest)])] = response.topics
    if error and for_code(error) is not OffsetOutOfRangeError:
        raise for_code(error)(f"{tp.topic}/{tp.partition} at offset {offset}")
    return bytes(rest[-1] or b"")
