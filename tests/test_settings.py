"""Settings from every source, their order, and the sentence that says what is wrong."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_twin.lane import LaneSettings
from stream_twin.settings import KafkaOptions, Settings, SettingsError, document, load, unknown_environment


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STREAM_TWIN_")]:
        monkeypatch.delenv(name)


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return path


def test_an_option_goes_before_the_environment_and_that_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(
        tmp_path, 'prefix = "file."\ngroup = "file"\npartition_count = 2\n[lane]\nhold_unknown_s = 1\nestimate_every_s = 2\n'
    )
    monkeypatch.setenv("STREAM_TWIN_GROUP", "environment")
    monkeypatch.setenv("STREAM_TWIN_PARTITION_COUNT", "3")
    monkeypatch.setenv("STREAM_TWIN_LANE__ESTIMATE_EVERY_S", "3")
    settings = load(path, partition_count="4")
    assert (settings.prefix, settings.group, settings.partition_count) == ("file.", "environment", 4)
    assert (settings.lane.hold_unknown_s, settings.lane.estimate_every_s) == (1.0, 3.0)
    assert settings.checkpoint_every_s == Settings().checkpoint_every_s


def test_the_environment_may_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_TWIN_CONFIG", str(file(tmp_path, "metrics_port = 0")))
    assert load().metrics_port == 0


@pytest.mark.parametrize(
    ("given_", "understood"),
    [
        ("kafka://127.0.0.1:9092", "127.0.0.1:9092"),
        ("127.0.0.1:9092", "127.0.0.1:9092"),
        ("kafka://a:1,b:2", "a:1,b:2"),
        ("kafka://a:1;kafka://b:2", "a:1,b:2"),
        ("[::1]:9092", "[::1]:9092"),
    ],
)
def test_brokers_are_understood_with_and_without_scheme(given_: str, understood: str) -> None:
    assert load(broker=given_).broker == understood


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("broker", "localhost", "broker = 'localhost' (from option): 'localhost' is not HOST:PORT"),
        ("broker", "http://a:1", "is not HOST:PORT"),
        ("broker", "a:99999", "is not HOST:PORT"),
        ("clock", "sun", "clock = 'sun' (from option): should be 'wall' or 'stream'"),
        ("partition_count", "0", "partition_count = '0' (from option): should be greater than or equal to 1"),
        ("partition_cuont", "1", "partition_cuont (from option): no such setting; did you mean partition_count?"),
        ("prefix", "a b", "prefix = 'a b'"),
        ("kafka_options.sasl_mechanism", "NONE", "should be 'PLAIN', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'"),
        ("kafka_options.ssl_ca", "x", "kafka_options.ssl_ca (from option): no such setting; did you mean ssl_cafile?"),
        ("lane.estimate_every_s", "0", "lane.estimate_every_s = '0': expected `float` > 0.0; allowed: number, over 0"),
        ("lane.unknown_patients", "x", "allowed: reject or watch"),
        ("lane.lateness_s.bedsid", "1", "lane.lateness_s.bedsid: no such setting; did you mean bedside?"),
        ("lane.hold_unknown", "1", "lane.hold_unknown: no such setting; did you mean hold_unknown_s?"),
        ("bounds.max_bytes", "much", "bounds.max_bytes = 'much': expected `int`"),
        ("lane.rules", "{nonsense", "is not JSON"),
    ],
)
def test_what_is_wrong_is_said_with_name_value_and_what_is_allowed(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(**{name: value})
    assert message in str(error.value)


def test_an_error_says_where_the_value_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path, 'clock = "sun"')
    with pytest.raises(SettingsError, match=r"from file .*settings.toml"):
        load(path)
    monkeypatch.setenv("STREAM_TWIN_CLOCK", "moon")
    with pytest.raises(SettingsError, match=r"'moon' \(from environment\)"):
        load(path)


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        load(clock="x", partition_count="y")
    assert len(str(error.value).splitlines()) == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.toml"):
        load(tmp_path / "missing.toml")
    with pytest.raises(SettingsError, match=r"settings\.toml"):
        load(file(tmp_path, "clock = "))


def test_a_secret_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_TWIN_KAFKA_OPTIONS__SASL_PLAIN_PASSWORD", "hunter2")
    options = load(
        **{"kafka_options.security_protocol": "SASL_PLAINTEXT", "kafka_options.sasl_plain_username": "u"}
    ).kafka_options
    assert "hunter2" not in f"{options!r} {options}"
    assert options.for_aiokafka()["sasl_plain_password"] == "hunter2"
    assert options.for_confluent()["sasl.password"] == "hunter2"
    with pytest.raises(SettingsError) as error:
        load(**{"kafka_options.ssl_password": ["hunter2"]})
    assert "hunter2" not in str(error.value)


def test_security_settings_are_passed_in_each_clients_names() -> None:
    plain = KafkaOptions()
    assert plain.for_aiokafka() == {"security_protocol": "PLAINTEXT"}
    assert plain.for_confluent()["security.protocol"] == "PLAINTEXT"
    options = KafkaOptions(security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", ssl_check_hostname=False)
    assert options.for_aiokafka()["ssl_context"].check_hostname is False
    assert options.for_confluent()["sasl.mechanism"] == "SCRAM-SHA-512"
    assert options.for_confluent()["ssl.endpoint.identification.algorithm"] == "none"


def test_a_table_keeps_the_defaults_that_are_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_TWIN_LANE__LATENESS_S__STREAMING", "60")
    monkeypatch.setenv("STREAM_TWIN_LANE__RULES", '{"limits": {"enabled": false}}')
    lane = load().lane
    assert lane.lateness_s == {**LaneSettings().lateness_s, "streaming": 60.0}
    assert lane.rules == {"limits": {"enabled": False}}


def test_a_variable_that_nothing_reads_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_TWIN_BROKR", "x")
    monkeypatch.setenv("STREAM_TWIN_LANE__HOLD_UNKNOWN_S", "1")
    assert unknown_environment() == ["STREAM_TWIN_BROKR is set but no setting reads it; did you mean STREAM_TWIN_BROKER?"]
    load()


@given(st.floats(0.005, 5), st.integers(1, 1024))
def test_what_is_allowed_arrives_as_given(commit_every_s: float, partition_count: int) -> None:
    settings = load(commit_every_s=str(commit_every_s), partition_count=str(partition_count))
    assert (settings.commit_every_s, settings.partition_count) == (commit_every_s, partition_count)


def test_the_page_lists_every_setting() -> None:
    page = document()
    names = [*Settings.model_fields, *(f"lane.{name}" for name in LaneSettings.__struct_fields__)]
    missing = [name for name in names if f"| `{name}" not in page]
    assert missing == []
