"""Plain Faust: typed records, an agent, a loop over events. ``python -m ... BROKER TOPIC WARM MOST``"""

import sys
import tempfile
import uuid

import faust

from benchmarks.peers.meter import Meter
from benchmarks.peers.work import Ward

BROKER, TOPIC, WARM, MOST = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


class Observation(faust.Record, serializer="json"):
    id: str
    patient_id: str
    code: str
    value: float
    unit: str
    measured_at: float
    device_id: str


class Alert(faust.Record, serializer="json"):
    patient_id: str
    code: str
    value: float
    sigmas: float
    variance: float
    measured_at: float


app = faust.App(
    f"bench-{uuid.uuid4().hex[:8]}",
    broker=f"kafka://{BROKER}",
    store="memory://",
    datadir=tempfile.mkdtemp(),
    topic_allow_declare=False,
    topic_disable_leader=True,
    stream_wait_empty=False,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
)
observations = app.topic(TOPIC, value_type=Observation)
alerts = app.topic(f"{TOPIC}.peer-alerts", key_type=str, value_type=Alert)
ward = Ward()
meter = Meter(WARM, MOST)


@app.agent(observations)
async def watch(stream):  # type: ignore[no-untyped-def]  # Faust is untyped
    async for event in stream:
        alert = ward.watch(event.patient_id, event.code, event.value, event.measured_at)
        if alert is not None:
            await alerts.send(key=event.patient_id, value=Alert(**alert))
        meter.add(1)


if __name__ == "__main__":
    # At level warn Faust keeps a spinner that turns debugging on in every logger: it would be slower.
    sys.argv = [sys.argv[0], "worker", "-l", "info", "--without-web"]
    app.main()
