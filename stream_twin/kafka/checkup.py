"""What ``stream-twin doctor`` asks a cluster."""

import uuid

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import NewTopic

from stream_twin.clock import wall
from stream_twin.kafka.broker import TIMEOUT_S, Broker


def members(broker: Broker, group: str) -> list[str]:
    """Hosts of the group's members, one for each.

    Raises:
        KafkaException: broker away.
    """
    future = broker.admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group]
    try:
        return [member.host.removeprefix("/") for member in future.result().members]
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return []
        raise


def lanes_owned(broker: Broker, group: str, inputs_topic: str) -> dict[int, str]:
    """Lane -> host of the worker that owns it now; empty where no worker runs, or the group is rebalancing.

    Raises:
        KafkaException: broker away.
    """
    future = broker.admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group]
    try:
        found = future.result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return {}
        raise
    if found.state != ConsumerGroupState.STABLE:
        return {}
    return {
        part.partition: member.host
        for member in found.members
        for part in (member.assignment.topic_partitions if member.assignment else [])
        if part.topic == inputs_topic
    }


def clock_skew_s(broker: Broker, prefix: str) -> float:
    """By how much this machine's clock is ahead of the broker's, to within the time a record takes.

    A broker tells its time only in what it appends, so a topic is made for one record and deleted again.

    Raises:
        KafkaException: broker away, or making topics is not allowed.
    """
    topic = f"{prefix}doctor-{uuid.uuid4().hex[:8]}"
    wanted = NewTopic(topic, 1, 1, config={"message.timestamp.type": "LogAppendTime"})
    broker.admin.create_topics([wanted], operation_timeout=TIMEOUT_S)[topic].result()
    try:
        return _append(broker, topic)
    finally:
        broker.admin.delete_topics([topic], operation_timeout=TIMEOUT_S)[topic].result()


def _append(broker: Broker, topic: str) -> float:
    skews: list[float] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is None:
            skews.append((began + wall()) / 2 - message.timestamp()[1] / 1000)

    producer = Producer({**broker.librdkafka, "linger.ms": 0})
    for _ in range(3):  # the first waits until the topic has a leader
        began = wall()
        producer.produce(topic, b"", on_delivery=delivered)
        producer.flush(TIMEOUT_S)
    if not skews:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic} took no record"))
    return skews[-1]
