"""Quix Streams: a StreamingDataFrame. ``python -m ... BROKER TOPIC WARM MOST``

Its state holds JSON, not objects, so that the filters are in a dict beside it.
"""

import sys
import tempfile
import uuid
from typing import Any

from quixstreams import Application

from benchmarks.peers.meter import Meter
from benchmarks.peers.work import Ward

BROKER, TOPIC, WARM, MOST = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ward = Ward()
meter = Meter(WARM, MOST)


def watch(event: dict[str, Any]) -> dict[str, Any] | None:
    alert = ward.watch(event["patient_id"], event["code"], event["value"], event["measured_at"])
    meter.add(1)
    return alert


def main() -> None:
    app = Application(
        broker_address=BROKER,
        consumer_group=f"bench-{uuid.uuid4().hex[:8]}",
        auto_offset_reset="earliest",
        state_dir=tempfile.mkdtemp(),
        loglevel="WARNING",
    )
    stream = app.dataframe(app.topic(TOPIC, value_deserializer="json"))
    stream = stream.apply(watch).filter(lambda alert: alert is not None)
    stream.to_topic(app.topic(f"{TOPIC}.peer-alerts", value_serializer="json"))
    app.run()


if __name__ == "__main__":
    main()
