"""bytewax: a dataflow with its Kafka connectors, one worker, the filters as a keyed step's state.

``python -m ... BROKER TOPIC WARM MOST``. Without a recovery store it neither commits offsets nor keeps its state.
"""

import sys
from typing import Any

import bytewax.operators as op
import msgspec
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kafka
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from benchmarks.peers.meter import Meter
from benchmarks.peers.work import Ward

BROKER, TOPIC, WARM, MOST = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
Alert = dict[str, Any] | None
meter = Meter(WARM, MOST)


class Observation(msgspec.Struct):
    patient_id: str
    code: str
    value: float
    measured_at: float


decode = msgspec.json.Decoder(Observation).decode


def keyed(message: KafkaSourceMessage[Any, bytes]) -> tuple[str, Observation]:
    event = decode(message.value)
    return event.patient_id, event


def watch(patient: Ward | None, event: Observation) -> tuple[Ward, Alert]:
    """The state is that of one patient: a ward of one."""
    patient = patient or Ward()
    alert = patient.watch(event.patient_id, event.code, event.value, event.measured_at)
    meter.add(1)
    return patient, alert


def message(keyed_alert: tuple[str, Alert]) -> KafkaSinkMessage[bytes, bytes] | None:
    patient, alert = keyed_alert
    return None if alert is None else KafkaSinkMessage(patient.encode(), msgspec.json.encode(alert))


flow = Dataflow("watch")
source = kafka.input("observations", flow, brokers=[BROKER], topics=[TOPIC])
alerts = op.stateful_map("watch", op.map("key", source.oks, keyed), watch)
kafka.output("alerts", op.filter_map("message", alerts, message), brokers=[BROKER], topic=f"{TOPIC}.peer-alerts")

if __name__ == "__main__":
    cli_main(flow)
