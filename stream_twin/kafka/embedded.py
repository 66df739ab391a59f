"""A Kafka broker inside this process, for the demo: librdkafka's mock cluster. It guarantees nothing.

It answers on a TCP port like a broker does, but knows no isolation, no fencing and no compaction, and keeps about 5 MB of each
partition in memory: one worker only, whoever sends must not run ahead of the readers, and nothing can be read again later.
"""

import ctypes
from types import TracebackType

from confluent_kafka import cimpl

from stream_twin import topics
from stream_twin.kafka.broker import Broker

GUARANTEE = "none"


class EmbeddedBroker:
    """``with EmbeddedBroker(lanes) as broker:`` gives a :class:`Broker` whose catalogue topics have ``lanes`` partitions.

    Raises:
        OSError: the broker did not start.
    """

    def __init__(self, lanes: int, prefix: str = "") -> None:
        self._lanes, self._prefix = lanes, prefix
        self._library = _library()
        self._client: int | None = None

    def __enter__(self) -> Broker:
        lib, error = self._library, ctypes.create_string_buffer(512)
        conf = lib.rd_kafka_conf_new()
        for name, value in ((b"test.mock.num.brokers", b"1"), (b"log_level", b"3")):
            lib.rd_kafka_conf_set(conf, name, value, error, len(error))
        self._client = lib.rd_kafka_new(0, conf, error, len(error))  # 0: a producer, which is never used to produce
        if not self._client:
            raise OSError(f"the embedded broker did not start: {error.value.decode()}")
        cluster = lib.rd_kafka_handle_mock_cluster(self._client)
        for topic in topics.TOPICS:
            if code := lib.rd_kafka_mock_topic_create(cluster, (self._prefix + topic.name).encode(), self._lanes, 1):
                raise OSError(f"the embedded broker did not make topic {self._prefix + topic.name}: error {code}")
        return Broker(lib.rd_kafka_mock_cluster_bootstraps(cluster).decode())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._client:
            self._library.rd_kafka_destroy(self._client)
            self._client = None


def _library() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka brings: its Python interface can neither make a mock topic nor tell the address."""
    lib = ctypes.CDLL(cimpl.__file__)
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, ()),
        ("rd_kafka_conf_set", ctypes.c_int, (pointer, text, text, text, ctypes.c_size_t)),
        ("rd_kafka_new", pointer, (ctypes.c_int, pointer, text, ctypes.c_size_t)),
        ("rd_kafka_handle_mock_cluster", pointer, (pointer,)),
        ("rd_kafka_mock_cluster_bootstraps", text, (pointer,)),
        ("rd_kafka_mock_topic_create", ctypes.c_int, (pointer, text, ctypes.c_int, ctypes.c_int)),
        ("rd_kafka_destroy", None, (pointer,)),
    ):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib
