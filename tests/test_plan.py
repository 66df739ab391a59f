"""The plan follows from what was measured, and what is more demands no less."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks import report
from stream_twin import cli
from stream_twin.commands.plan import every_s
from stream_twin.plan import HEADROOM, MEASURED, Demand, plan


def amounts(demand: Demand) -> dict[str, float]:
    return {row.what: float(row.amount.split()[0].removesuffix("/s").replace(",", "")) for row in plan(demand)}


def test_a_ward_is_two_workers_and_the_default_topics() -> None:
    found = amounts(Demand(patients=1_000, signals=8, every_s=10))
    assert found["samples"] == 800
    assert found["workers, one core each"] == 2
    assert found["partitions"] == 16


@given(patients=st.integers(1, 100_000), signals=st.integers(1, 20), every=st.floats(1, 3600))
def test_more_patients_or_samples_never_want_less(patients: int, signals: int, every: float) -> None:
    one = amounts(Demand(patients, signals, every))
    for more in (
        Demand(patients * 2, signals, every),
        Demand(patients, signals + 4, every),
        Demand(patients, signals, every / 2),
    ):
        found = amounts(more)
        for what in ("samples", "workers, one core each", "partitions", "read by workers", "written by workers"):
            assert found[what] >= one[what], what
    workers = one["workers, one core each"]
    assert patients * signals / every / workers <= MEASURED["worker's top rate"].value * HEADROOM
    assert patients / workers <= MEASURED["twins of a worker"].value
    assert one["partitions"] >= 4 * workers


def test_what_one_installation_cannot_do_is_told() -> None:
    with pytest.raises(ValueError, match="split it"):
        plan(Demand(patients=100_000_000, signals=8, every_s=10))


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("5min", 300), ("0.5 h", 1800), ("1d", 86400), ("7", 7)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert every_s(text) == seconds


def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(
        cli.application(), ["plan", "--patients", "1000000", "--signals", "8", "--every", "10s", "--measured"]
    )
    assert done.exit_code == 0, done.stderr
    assert "800,000/s" in done.stdout
    for fact in MEASURED.values():
        assert f"{fact.value:,.6g}" in done.stdout
    refused = CliRunner().invoke(cli.application(), ["plan", "--patients", "10", "--every", "soon"])
    assert refused.exit_code == 2
    assert "is not a time above 0" in refused.stderr


def test_every_number_names_a_measurement_that_is_there() -> None:
    for name, fact in MEASURED.items():
        module = fact.command.split()[-1].replace("benchmarks.", "").removesuffix('"')
        where = report.DIRECTORY.parents[1] / "benchmarks"
        assert fact.command.startswith("make bench ARGS") or (where / f"{module}.py").exists(), name
