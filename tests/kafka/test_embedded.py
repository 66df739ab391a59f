"""The demo's broker: the same worker runs on it, without any guarantee."""

from pathlib import Path

from stream_twin.kafka import admin, reader
from stream_twin.kafka.embedded import EmbeddedBroker
from stream_twin.kafka.failures import ExitCode
from tests.kafka.rig import Rig, until


def test_a_worker_runs_on_the_embedded_broker(tmp_path: Path) -> None:
    with EmbeddedBroker(3) as broker:
        assert broker.is_embedded
        assert admin.check(broker, "", 3) == []
        [difference, *_] = admin.check(broker, "", 4)
        assert difference.what == "partition count"
        rig = Rig(broker.address, "", 3, tmp_path, create=False)
        try:
            worker = rig.worker()
            rig.feed(1500)

            def alerted() -> bool:
                return sum(1 for _ in reader.read(broker, "alerts")) >= 90

            until(alerted, 40, worker.log)
            assert worker.stop() == ExitCode.STOPPED
        finally:
            rig.close()
