"""One's own table: what the map makes of it, and what a dry run says."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from stream_twin.commands import send
from stream_twin.datasets.table import MapError, Table, read_map
from stream_twin.topics import SOURCES
from tests.datasets.judged import bodies

MAP = """
patient: subject
time: {column: when, format: "%d/%m/%Y %H:%M", zone: Europe/London}
device: {constant: watch-1}
values:
  - {column: hr, signal: heart_rate, unit: /min}
  - {column: glucose, signal: glucose, unit: mmol/L}
"""
TABLE = """subject,when,hr,glucose
anna,01/07/2024 10:00,61,7.5
anna,01/07/2024 10:05,,7.9
ben,01/07/2024 10:06,NA,0.1
ben,yesterday,70,
ben,01/07/2034 10:06,70,
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "table.csv").write_text("\ufeff" + TABLE)
    (tmp_path / "map.yaml").write_text(MAP)
    return tmp_path / "table.csv", tmp_path / "map.yaml"


def run(*arguments: object) -> tuple[int, str]:
    app = typer.Typer()
    app.callback()(lambda: None)
    send.register(app)
    result = CliRunner().invoke(app, ["send", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_columns_become_messages(files: tuple[Path, Path]) -> None:
    rows = list(Table(files[0], read_map(files[1])))
    assert [(row.line, row.column) for row in rows] == [
        (2, "hr"),
        (2, "glucose"),
        (3, "glucose"),
        (4, "glucose"),
        (5, "hr"),
        (6, "hr"),
    ]
    first = bodies([rows[0].sent])[0]
    assert (first["patient_id"], first["code"], first["unit"], first["value"]) == ("anna", "8867-4", "/min", 61.0)
    assert first["measured_at"] == 1719824400.0, "10:00 in London in summer"
    assert first["device_id"] == "watch-1"
    assert rows[4].sent.key == b"ben"


def test_a_dry_run_names_rows_and_reasons(files: tuple[Path, Path]) -> None:
    code, said = run(files[0], "--map", files[1], "--dry-run", "--broker", "127.0.0.1:1")
    assert code == 1
    assert "line 4, column glucose: out_of_range: glucose 0.1 mmol/L" in said
    assert "line 5, column hr: time_format" in said
    assert "line 6, column hr: time_in_future" in said
    assert "6 messages, 3 would be rejected" in said
    assert "nothing was sent" in said


def test_a_good_table_passes(files: tuple[Path, Path]) -> None:
    files[0].write_text("".join(TABLE.splitlines(keepends=True)[:3]))
    code, said = run(files[0], "--map", files[1], "--dry-run")
    assert (code, said.splitlines()[-1]) == (0, "3 messages, 0 would be rejected; nothing was sent")


def test_profile_and_devices_first(files: tuple[Path, Path]) -> None:
    files[0].write_text(
        "id,t,sex,years,device,w\na,2024-07-01T10:00:00+02:00,F,61,scale,70\na,2024-07-02T10:00:00Z,F,61,other,71\n"
    )
    files[1].write_text(
        "patient: id\ntime: {column: t}\ndevice: device\nevery_s: 86400\n"
        "profile: {time_zone: Europe/Oslo, sex: sex, age_years: years}\n"
        "values: [{column: w, code: '29463-7', unit: kg}]\n"
    )
    sent = [row.sent for row in Table(files[0], read_map(files[1]))]
    assert [one.topic for one in sent] == [
        "patient.profiles", "device.assignments", "wearable.observations", "device.assignments", "wearable.observations",
    ]  # fmt: skip
    code, said = run(files[0], "--map", files[1], "--dry-run")
    assert "sex" in said, "F is none of the words of the contract, and that is said"
    assert code == 1
    files[0].write_text(files[0].read_text().replace(",F,", ",female,"))
    assert run(files[0], "--map", files[1], "--dry-run")[0] == 0
    assert [len(body["devices"]) for body in bodies([one for one in sent if one.topic == "device.assignments"])] == [1, 2]


def test_air_is_keyed_by_place(files: tuple[Path, Path]) -> None:
    files[0].write_text("station;ms;pm\nnorth;1719820800000;12,5\nnorth;1719824400000;13.5\n")
    files[1].write_text(
        "place: station\ntopic: environment.observations\ndelimiter: ';'\ntime: {column: ms, format: epoch_ms}\n"
        "values: [{column: pm, signal: pm25, unit: ug/m3}]\n"
    )
    rows = [row.sent for row in Table(files[0], read_map(files[1]))]
    assert {row.key for row in rows} == {b"north"}
    assert bodies(rows)[1]["measured_at"] == 1719824400.0
    code, said = run(files[0], "--map", files[1], "--dry-run")
    assert code == 1
    assert "line 2, column pm: wrong_type" in said, "a decimal comma is no number"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("signal: heart_rate", "signal: hart_rate"), "did you mean heart_rate"),
        (("column: hr", "column: hrt"), "no column 'hrt': did you mean 'hr'"),
        (("patient: subject\n", ""), "give patient and no place"),
        (("zone: Europe/London", "zone: Europe/Londn"), "no time zone 'Europe/Londn'"),
        (("device: {constant: watch-1}", "device: {}"), "either a column or a constant"),
        (("unit: /min", "units: /min"), "units"),
        (("patient: subject", "patient: [subject"), "is no YAML"),
    ],
)
def test_a_wrong_map_is_explained(files: tuple[Path, Path], change: tuple[str, str], message: str) -> None:
    files[1].write_text(MAP.replace(*change))
    with pytest.raises(MapError, match=message) as raised:
        list(Table(files[0], read_map(files[1])))
    assert raised.value.exit_code == 2


@pytest.fixture
def broker() -> Iterator[str]:
    host = Producer({"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 2})
    [embedded] = host.list_topics(timeout=5).brokers.values()
    for name in (*(topic.name for topic in SOURCES), "clock.ticks"):
        host.list_topics(name, timeout=5)
    yield f"{embedded.host}:{embedded.port}"
    del host


def test_sent_to_a_broker(files: tuple[Path, Path], broker: str) -> None:
    code, said = run(files[0], "--map", files[1], "--broker", broker)
    assert (code, said) == (0, "6 records sent; rejected ones end in dead.letters\n")
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "test", "log_level": 2})
    consumer.assign([TopicPartition("wearable.observations", part, 0) for part in range(4)])
    found = [message for _ in range(50) if (message := consumer.poll(0.1)) is not None]
    assert sorted(message.key() for message in found) == [b"anna"] * 3 + [b"ben"] * 3
    assert len({message.partition() for message in found if message.key() == b"anna"}) == 1


def test_the_example_of_the_manual(files: tuple[Path, Path]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "send.md").read_text()
    table, mapping, console = (page.split(f"```{kind}\n")[1].split("```")[0] for kind in ("csv", "yaml", "console"))
    files[0].write_text(table)
    files[1].write_text(mapping)
    said = console.splitlines(keepends=True)[1:]
    assert run(files[0], "--map", files[1], "--dry-run") == (1, "".join(said))
