"""What must hold of the topics after any faults: computed again, by one plain process, from the sources and the log."""

from collections import Counter, defaultdict

import msgspec

from stream_twin.kafka import reader, state
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.placing import SOURCES
from tests.kafka.fakes import BROADCAST, FakeLane

OUTPUTS = ("alerts", "twin.estimates", "learning.examples")


def problems(address: str, prefix: str, lanes: int) -> list[str]:
    """Sentences about what is wrong; the workers must have stopped. Fails to find anything only if all is right."""
    broker, found = Broker(address), []
    logs: dict[int, list[reader.Record]] = {lane: [] for lane in range(lanes)}
    for record in reader.read(broker, prefix + "twin.inputs"):
        logs[record.partition].append(record)
    dead = list(reader.read(broker, prefix + "dead.letters"))
    found += _accounting(broker, prefix, lanes, logs, dead)

    outputs = {topic: defaultdict(list) for topic in OUTPUTS}
    for topic in OUTPUTS:
        for record in reader.read(broker, prefix + topic):
            outputs[topic][record.partition].append((record.key, record.value))
    failed = Counter((record.partition, record.value) for record in dead if ("reason", b"failed") in record.headers)
    for lane, log in logs.items():
        oracle = FakeLane(lane, None, ())
        expected = oracle.apply(log, careful=True).outputs
        for topic in OUTPUTS:
            wanted = [(output.key, output.value) for _, output in expected if output.topic == topic]
            got = outputs[topic][lane]
            if sorted(got, key=_patient) != sorted(wanted, key=_patient):  # in order, but patients among each other in any
                extra, lost = Counter(got) - Counter(wanted), Counter(wanted) - Counter(got)
                found.append(f"lane {lane}: {topic}: {extra.total()} too many, {lost.total()} lost, of {len(wanted)}")
        wanted_dead = Counter((lane, output.value) for _, output in expected if output.topic == "dead.letters")
        if wanted_dead != Counter({key: n for key, n in failed.items() if key[0] == lane}):
            found.append(f"lane {lane}: dead letters of failed updates differ")
        kept = state.read(broker, prefix, lane)
        restored = FakeLane(lane, kept.checkpoint, kept.snapshots.items())
        restored.apply([record for record in log if record.offset >= restored.position], careful=True)
        if restored.twins != oracle.twins:
            wrong = sum(restored.twins.get(key) != twin for key, twin in oracle.twins.items())
            found.append(f"lane {lane}: {wrong} of {len(oracle.twins)} twins differ when restored from twin.state")
        restored.own.position = oracle.own.position
        if restored.own != oracle.own:
            found.append(f"lane {lane}: its own state is {restored.own} when restored, {oracle.own} by the log")
    return found


def _accounting(
    broker: Broker, prefix: str, lanes: int, logs: dict[int, list[reader.Record]], dead: list[reader.Record]
) -> list[str]:
    found = []
    logged: dict[bytes, list[int]] = defaultdict(list)
    places: dict[bytes, int] = {}
    for lane, log in logs.items():
        for record in log:
            entry = msgspec.json.decode(record.value or b"")
            if "s" in entry:
                source = entry["s"].encode()
                logged[source].append(lane)
                places[source] = record.offset
    rejected = Counter(_source_of(dict(record.headers)) for record in dead)
    sent = 0
    for topic in SOURCES:
        newest: dict[tuple[int, bytes | None], int] = {}
        for record in reader.read(broker, prefix + topic):
            sent += 1
            source = b"%s/%d/%d" % (topic.encode(), record.partition, record.offset)
            got, refused = sorted(logged.pop(source, [])), rejected.pop(source, 0)
            wanted = list(range(lanes)) if topic in BROADCAST else got[:1]
            if (record.value or b"").startswith(b"bad") or b"swells" in (record.value or b""):
                if got or refused != 1:
                    found.append(f"{source!r} is bad: {refused} dead letters, in lanes {got}")
            elif got != wanted or not got or refused:
                found.append(f"{source!r}: in lanes {got}, {refused} dead letters")
            elif topic not in BROADCAST:
                place = record.partition, record.key
                if places[source] < newest.get(place, -1):
                    found.append(f"{source!r}: before its predecessor")
                newest[place] = places[source]
    rejected.pop(None, None)
    if logged or rejected:
        found.append(f"{len(logged)} inputs and {len(rejected)} dead letters of no source record")
    if not sent:
        found.append("no source record at all")
    return found


def _patient(output: tuple[bytes | None, bytes | None]) -> bytes:
    return output[0] or b""


def _source_of(headers: dict[str, bytes]) -> bytes | None:
    """Which record a dead letter of ingest is about."""
    if headers.get("reason") == b"too_large":
        return b"/".join((headers["topic"], headers["partition"], headers["offset"]))
    return headers.get("source")
