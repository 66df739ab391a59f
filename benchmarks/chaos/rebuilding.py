"""Rebuilds of the load's patients, one after another, while workers and broker are under faults."""

import random
import threading
from collections import Counter

from confluent_kafka import KafkaException

from benchmarks.chaos.load import PATIENTS
from stream_twin.commands.rebuild import Pure
from stream_twin.kafka import rebuild
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.failures import Fatal

EVERY_S = 4.0
WAIT_S = 20.0


class Rebuilding(threading.Thread):
    """Rebuilds somebody every few seconds until :meth:`stop`. ``ended``: how they did; what is no answer is in ``wrong``."""

    def __init__(self, broker: Broker, prefix: str, seed: int) -> None:
        super().__init__(name="rebuilding", daemon=True)
        self.ended: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._broker, self._prefix = broker, prefix
        self._draws = random.Random(seed)
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        while not self._stopped.wait(EVERY_S):
            patient = f"patient-{self._draws.randrange(PATIENTS):02}"
            try:
                rebuild.rebuild(
                    self._broker, self._prefix, patient, Pure(patient), by="campaign", wait_s=WAIT_S, tell=lambda what: None
                )
                self.ended["taken over"] += 1
            except rebuild.RebuildError as error:
                self.ended["refused" if "refused" in str(error) else "not done in time"] += 1
            except (KafkaException, Fatal, TimeoutError):
                self.ended["broker away"] += 1
            except Exception as error:
                self.wrong.append(f"the rebuild of {patient} raised {error!r}")
