"""``stream-twin fit`` on made stays: the same input gives the same file, which is a population; mistakes are named."""

import numpy as np
import pytest
from typer.testing import CliRunner

from stream_twin import signals
from stream_twin.cli import application
from stream_twin.twin.model import read

RUN = CliRunner()


@pytest.fixture
def stays(tmp_path):
    """Four stays of a day, hourly: heart rate and respiratory rate."""
    folder = tmp_path / "stays"
    folder.mkdir()
    random = np.random.default_rng(7)
    for number in range(4):
        level = 80 + 8 * random.standard_normal()
        rows = ["HR|Resp|Age|Gender|ICULOS|SepsisLabel"]
        rows += [f"{level + 4 * random.standard_normal():.0f}|{17 + random.integers(-2, 3)}|60|1|{h}|0" for h in range(1, 25)]
        (folder / f"p10000{number + 1}.psv").write_text("\n".join(rows) + "\n")
    return folder


def fit(stays, out, *more: str):
    return RUN.invoke(
        application(),
        ["fit", "sepsis2019", str(stays), "--out", str(out), "--steps", "3", "--date", "2026-01-02", *more],
    )


def test_writes_a_population_and_the_same_one_again(stays, tmp_path):
    wanted = ("--signals", "heart_rate,respiratory_rate", "--folds", "2", "--leave-out", "2")
    first = fit(stays, tmp_path / "a.toml", *wanted)
    assert first.exit_code == 0, first.output
    assert fit(stays, tmp_path / "b.toml", *wanted).exit_code == 0
    assert (tmp_path / "a.toml").read_bytes() == (tmp_path / "b.toml").read_bytes()
    population = read(tmp_path / "a.toml", signals.load()).population
    assert population.signals["heart_rate"].source == "fitted to PhysioNet/CinC Challenge 2019 (2 people), 2026-01-02"
    assert population.signals["lactate"].source == "loadings by hand, from physiology; the rest from the catalogue"
    assert any("10.13026/v64v-d857" in credit for credit in population.attribution)
    assert "48 samples of 2 people" in first.output or "96 samples of 2 people" in first.output


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--signals", "heart_rat"), "heart_rat: not in the start file"),
        (("--people", "p2..p3"), "nobody of the recorded p100001 to p100004"),
        (("--folds", "2", "--leave-out", "3"), "fold 3 of 2"),
        (("--start", "moon"), "neither a file nor one of home, intensive_care"),
        (("--with", "moon=here"), "moon=here"),
    ],
)
def test_names_what_is_wrong(stays, tmp_path, more, said):
    result = fit(stays, tmp_path / "c.toml", *more)
    assert result.exit_code == 2
    words = " ".join(result.output.replace("│", " ").split())
    assert said in words
