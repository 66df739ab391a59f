"""aiokafka's connections on uvloop, which raises RuntimeError for a write to a connection that was reset.

asyncio's own loop raises OSError there, which aiokafka takes for what it is. The other ended its fetching for good, without a
word to the consumer, whose heartbeats went on.
"""

from collections.abc import Callable
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

CLOSED = "the handler is closed"


def _taking_it_for_broken(write: Callable[..., Any]) -> Callable[..., Any]:
    def send(connection: Any, *args: Any, **options: Any) -> Any:
        try:
            return write(connection, *args, **options)
        except RuntimeError as error:
            if not str(error).endswith(CLOSED):
                raise
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"connection to {connection.host}:{connection.port} broken: {error}") from error

    return send


for _name in ("send", "_send_sasl_token"):
    setattr(AIOKafkaConnection, _name, _taking_it_for_broken(getattr(AIOKafkaConnection, _name)))
