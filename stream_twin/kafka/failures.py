"""How a worker ends, and which failures it waits out."""

import asyncio
from enum import IntEnum

from aiokafka.errors import (
    InvalidProducerEpoch,
    InvalidTxnState,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    ProducerFenced,
    TopicAuthorizationFailedError,
)
from confluent_kafka import KafkaError as LibrdkafkaError
from confluent_kafka import KafkaException


class ExitCode(IntEnum):
    """Exit codes of a worker. A supervisor starts it again after all but STOPPED, USAGE, TOPICS and GAP."""

    STOPPED = 0
    """Asked to stop, and everything was committed."""
    USAGE = 2
    """Wrong options or settings."""
    FENCED = 3
    """Another worker has taken this one's lanes over, for instance while it was frozen."""
    FAILED = 4
    """An error that is not a record's own; the log says which."""
    TOPICS = 5
    """Topics are missing or wrong, or were made for another number of lanes; the log names the command that mends it."""
    GAP = 6
    """Records that a lane still needs are gone from a topic; the log names the command that mends it."""
    TOO_LARGE = 7
    """A record to be written is larger than its topic allows."""


class Fatal(Exception):
    """Ends the process with ``code``; the message is for people."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.exit_code = code


FENCED = (ProducerFenced, InvalidProducerEpoch, InvalidTxnState)
_AWAY_CODES = {
    LibrdkafkaError._TRANSPORT,
    LibrdkafkaError._ALL_BROKERS_DOWN,
    LibrdkafkaError._TIMED_OUT,
    LibrdkafkaError._TIMED_OUT_QUEUE,
    LibrdkafkaError._RESOLVE,
    LibrdkafkaError._WAIT_COORD,
    LibrdkafkaError._NOENT,  # "no leaders found"
    LibrdkafkaError.FENCED_LEADER_EPOCH,
    LibrdkafkaError.UNKNOWN_LEADER_EPOCH,
    LibrdkafkaError.NETWORK_EXCEPTION,
    LibrdkafkaError.BROKER_NOT_AVAILABLE,
    LibrdkafkaError.REQUEST_TIMED_OUT,
    LibrdkafkaError.COORDINATOR_NOT_AVAILABLE,
    LibrdkafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    LibrdkafkaError.NOT_COORDINATOR,
    LibrdkafkaError.LEADER_NOT_AVAILABLE,
    LibrdkafkaError.NOT_LEADER_FOR_PARTITION,
}


def is_away(error: BaseException) -> bool:
    """Whether the broker, and not we, is at fault: worth waiting for."""
    if isinstance(error, KafkaException):
        return error.args[0].code() in _AWAY_CODES
    if isinstance(error, (*FENCED, TopicAuthorizationFailedError)):
        return False
    if type(error) is KafkaError and error.__cause__ is not None:
        return is_away(error.__cause__)  # aiokafka's sender wraps what it did not expect
    if isinstance(error, KafkaError):
        return bool(getattr(error, "retriable", False)) or isinstance(error, (KafkaConnectionError, KafkaTimeoutError))
    return isinstance(error, (ConnectionError, TimeoutError, asyncio.TimeoutError))
