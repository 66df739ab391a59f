"""``topics/`` is what the code says, and its examples are accepted."""

import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml

from stream_twin import contract, events, golden
from stream_twin.ingest import Bounds, Ingest
from stream_twin.signals import load
from stream_twin.topics import INPUT_BYTES, MAX_RECORD_BYTES, SOURCE_BYTES, SOURCES, TOPICS

TOPICS_DIRECTORY = contract.DIRECTORY
KINDS = {kind.__name__: kind for topic in TOPICS for kind in topic.messages}


def loaded(path: str) -> dict:
    return json.loads((TOPICS_DIRECTORY / path).read_text())


def test_committed_files_are_what_the_generator_writes():
    assert contract.differences(contract.render(), TOPICS_DIRECTORY) == []


def test_check_names_what_is_missing_different_and_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert contract.main(["--directory", str(tmp_path)]) == 0
    assert contract.main(["--check", "--directory", str(tmp_path)]) == 0
    (tmp_path / "signals.json").unlink()
    (tmp_path / "asyncapi.yaml").write_text("asyncapi: 2.0.0\n")
    (tmp_path / "schemas" / "gone.json").write_text("{}")
    assert contract.main(["--check", "--directory", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "signals.json is missing" in told
    assert "asyncapi.yaml differs" in told
    assert "schemas/gone.json is not part of the contract" in told
    assert contract.main(["--directory", str(tmp_path)]) == 0
    assert contract.main(["--check", "--directory", str(tmp_path)]) == 0


@pytest.mark.parametrize("name", KINDS)
def test_example_validates_and_schema_refuses_less(name: str):
    schema = loaded(f"schemas/{contract.file_name(KINDS[name])}.json")
    example = loaded(f"examples/{contract.file_name(KINDS[name])}.json")
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(example)
    for field in schema["required"]:
        without = {key: value for key, value in example.items() if key != field}
        assert not validator.is_valid(without), f"{name} is accepted without {field}"


@pytest.mark.parametrize("name", KINDS)
def test_example_decodes_as_its_message(name: str):
    text = (TOPICS_DIRECTORY / f"examples/{contract.file_name(KINDS[name])}.json").read_bytes()
    message = msgspec.json.decode(text, type=KINDS[name])
    assert json.loads(msgspec.json.encode(message)) == json.loads(text)


@pytest.mark.parametrize(
    "made", [made for made in golden.examples(load()) if made.topic not in {"", "twin.inputs", "clock.ticks"}]
)
def test_source_example_passes_ingest(made: golden.Golden):
    class Record:
        offset, timestamp, key, value = 0, round(golden.AT * 1000), made.key, msgspec.json.encode(made.message)

    result = Ingest(load()).run(made.topic, 0, [Record()], golden.AT)
    assert result.rejected == []
    assert len(result.inputs) == 1


def test_every_message_and_topic_is_in_the_document():
    document = yaml.safe_load((TOPICS_DIRECTORY / "asyncapi.yaml").read_text())
    assert document["asyncapi"].startswith("3.")
    assert list(document["channels"]) == [topic.name for topic in TOPICS]
    text = (TOPICS_DIRECTORY / "asyncapi.yaml").read_text()
    for reference in set(re.findall(r"\$ref: '?([^'\s]+)'?", text)):
        if reference.startswith("#/"):
            node = document
            for part in reference[2:].split("/"):
                node = node[part]
        else:
            assert (TOPICS_DIRECTORY / reference).exists()
    for topic in TOPICS:
        configuration = document["channels"][topic.name]["bindings"]["kafka"]["topicConfiguration"]
        assert configuration["cleanup.policy"] == [topic.cleanup]
        assert configuration["max.message.bytes"] == int(topic.config["max.message.bytes"])


def test_fields_are_described_where_the_source_describes_them():
    unit = loaded("schemas/observation.json")["properties"]["unit"]
    assert unit["description"].startswith("UCUM")
    assert "description" not in loaded("schemas/meal.json")


def test_topics_agree_with_ingest():
    assert set(Ingest(load()).topics) == {topic.name for topic in SOURCES}
    assert Bounds().max_bytes == MAX_RECORD_BYTES
    assert Bounds().dead_letter_bytes <= SOURCE_BYTES


def test_every_input_has_an_example():
    inputs = {type(made.message) for made in golden.examples(load()) if made.topic == "twin.inputs"}
    of_the_lane = {events.Configured, events.Tick, events.Forgotten, events.LaneBase, events.PatientBase}
    assert inputs | of_the_lane == set(msgspec_union(events.AnyInput))


def test_dead_letters_take_what_the_sources_hold():
    by_name = {topic.name: int(topic.config["max.message.bytes"]) for topic in TOPICS}
    assert by_name["dead.letters"] >= 2 * max(by_name[topic.name] for topic in SOURCES)
    assert by_name["twin.inputs"] == INPUT_BYTES


def test_largest_series_fits_into_the_log():
    values = ",".join(["5.1"] * 100_000)
    value = (
        '{"type":"series","id":"s","patient_id":"p","code":"99504-3","unit":"mmol/L","start":1600000000.1,"interval_s":0.123456789,'
        f'"values":[{values}],"note":"{"x" * (MAX_RECORD_BYTES - 400_300)}"}}'
    ).encode()
    assert MAX_RECORD_BYTES - 1000 < len(value) <= MAX_RECORD_BYTES

    class Record:
        offset, timestamp, key = 0, 0, b"p"

    Record.value = value
    ((_, made),) = Ingest(load()).run("wearable.observations", 0, [Record()], golden.AT).inputs
    assert len(made) < INPUT_BYTES - 4096


def test_compacted_state_reads_fast_after_a_crash():
    (state,) = [topic for topic in TOPICS if topic.name == "twin.state"]
    assert state.kafka_config["cleanup.policy"] == "compact"
    assert int(state.config["segment.bytes"]) <= 32 * 1024 * 1024
    assert int(state.config["segment.ms"]) <= 600_000
    assert float(state.config["min.cleanable.dirty.ratio"]) <= 0.2
    assert int(state.config["max.compaction.lag.ms"]) <= 3_600_000


def msgspec_union(union: object) -> tuple[type, ...]:
    return union.__args__
