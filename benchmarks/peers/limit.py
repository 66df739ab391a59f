"""What is possible at all: aiokafka and decoding into the wire's type, nothing else. ``python -m ... BROKER TOPIC WARM MOST``"""

import sys

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer

from benchmarks.peers.meter import Meter
from stream_twin.events import Observation, Series


async def main(broker: str, topic: str, warm: int, most: int) -> None:
    decode = msgspec.json.Decoder(Observation | Series).decode
    meter = Meter(warm, most)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=broker, auto_offset_reset="earliest", max_partition_fetch_bytes=1 << 20)
    await consumer.start()
    while True:
        for records in (await consumer.getmany(timeout_ms=100, max_records=5000)).values():
            for record in records:
                decode(record.value)
            meter.add(len(records))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
