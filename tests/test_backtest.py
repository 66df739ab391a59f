"""Back-tests on tiny made-up data in the data sets' shape: no row may know what came after it."""

import csv
import math
import random
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from stream_twin import backtest, events, signals
from stream_twin.alerts.budget import Budget
from stream_twin.cli import application
from stream_twin.datasets import sepsis2019
from stream_twin.learn import shipped
from stream_twin.twin.model import shipped as populations

HEAD = """
    HR O2Sat Temp SBP MAP DBP Resp EtCO2 BaseExcess HCO3 FiO2 pH PaCO2 SaO2 AST BUN Alkalinephos Calcium Chloride Creatinine
    Bilirubin_direct Glucose Lactate Magnesium Phosphate Potassium Bilirubin_total TroponinI Hct Hgb PTT WBC Fibrinogen
    Platelets Age Gender Unit1 Unit2 HospAdmTime ICULOS SepsisLabel
""".split()  # noqa: SIM905 - a list of 41 strings would be a page


def stay(folder: Path, number: int, hours: int, *, ill: bool = False, first: int = 1, keep: int | None = None) -> None:
    draw = random.Random(number)
    rows = []
    for hour in range(first, first + hours):
        late = ill and hour > hours - 9
        drift = 25.0 if late else 0.0
        values = {
            "HR": draw.gauss(85 + drift, 6),
            "O2Sat": min(100, draw.gauss(97, 1)),
            "Temp": draw.gauss(37 + drift / 20, 0.2) if hour % 4 == 0 else None,
            "SBP": draw.gauss(120 - drift, 8),
            "DBP": draw.gauss(65, 5),
            "Resp": draw.gauss(18 + drift / 3, 2),
            "WBC": draw.gauss(9 + drift / 3, 1) if hour % 12 == 1 else None,
            "Age": 60 + number % 20,
            "Gender": number % 2,
            "HospAdmTime": -3.5,
            "ICULOS": hour,
            "SepsisLabel": int(late),
        }
        if hour == first:
            values = {name: values.get(name) if name in HEAD[34:] else None for name in HEAD}
        rows.append("|".join("NaN" if values.get(name) is None else f"{values[name]:.4g}" for name in HEAD))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"p{number}.psv").write_text("\n".join(["|".join(HEAD), *rows[:keep]]) + "\n")


def ward(folder: Path, people: int = 24, start: int = 900001, **last: int) -> Path:
    for n in range(people):
        more = last if n == people - 1 else {}
        stay(folder, start + n, 14 + n % 5, ill=n % 4 == 0, first=3 if n == 5 else 1, **more)
    return folder


def run(*arguments: object) -> None:
    result = CliRunner().invoke(application(), [str(a) for a in arguments])
    assert result.exit_code == 0, result.output + str(result.exception or "")


def scores(folder: Path, out: Path, *more: object) -> list[tuple[str, float, float]]:
    run("backtest", "sepsis2019", folder, "--out", out, *more)
    with (out / "scores.csv").open() as file:
        return [(r["patient"], float(r["hour"]), float(r["score"])) for r in csv.DictReader(file)]


def test_one_row_for_each_hour_of_each_stay(tmp_path):
    folder = ward(tmp_path / "set", 8)
    rows = scores(folder, tmp_path / "out")
    wanted = [(person, hour) for person in sepsis2019.people(folder) for hour in sepsis2019.hours(folder, person)]
    assert [(person, hour) for person, hour, _ in rows] == wanted
    assert ("p900006", 3.0) in wanted
    assert all(0 < p < 1 for _, _, p in rows)


def test_the_ill_are_scored_higher(tmp_path):
    rows = scores(ward(tmp_path / "set"), tmp_path / "out")
    ill = [p for person, hour, p in rows if int(person[1:]) % 4 == 1 and hour >= 12]
    well = [p for person, hour, p in rows if int(person[1:]) % 4 == 3 and hour >= 12]
    assert sum(ill) / len(ill) > 1.5 * sum(well) / len(well)


@pytest.mark.parametrize("option", [(), ("--cold",), ("--setting", "laboratory")])
def test_truncating_the_input_never_changes_an_earlier_row(tmp_path, option):
    """The last stay is cut in the middle, before its illness shows and before its label; others are cut off behind."""
    whole = scores(ward(tmp_path / "whole", 21), tmp_path / "a", *option)
    cut = scores(ward(tmp_path / "cut", 21, keep=7), tmp_path / "b", *option)
    assert cut == whole[: len(cut)]
    assert len(cut) < len(whole)
    fewer = scores(ward(tmp_path / "fewer", 12), tmp_path / "c", *option)
    assert fewer == whole[: len(fewer)]


def test_alarms_are_made_by_what_was_known_and_false_ones_become_fewer():
    """Stays of people who stay well, all scored alike: the threshold rises above that; what comes last changes nothing before."""
    label = events.Label(patient_id="p", cohort="intensive_care", kind="well", occurred_at=0.0, known_at=0.0)
    stay = backtest.Stay("p", [float(n) for n in range(1, 25)], [msgspec.json.encode(label)])
    ill = stay._replace(examples=[msgspec.json.encode(msgspec.structs.replace(label, kind="sepsis", occurred_at=3600.0 * 12))])
    alike = [backtest.Score("p", hour, 0.1) for hour in stay.hours]

    def told(last, per_day):
        alarms = backtest.Alarms(Budget(per_day=per_day, start=0.08, least=0.02))
        return [alarms.play(one, alike) for one in [*[stay] * 60, last]]

    few = told(stay, 0.01)
    assert few[0][0]
    assert not any(few[-1])
    assert all(told(stay, 30.0)[-1]), "a large budget is never spent"
    assert told(ill, 0.01) == few


def test_labels_of_a_stay_do_not_reach_its_own_rows_but_later_ones(tmp_path):
    """Ten stays are needed for the next version of the model: from the eleventh on, the labels tell."""
    folder, other = ward(tmp_path / "set", 24), ward(tmp_path / "other", 24)
    for n in range(4):
        file = other / f"p{900001 + n}.psv"
        lines = file.read_text().splitlines()
        flipped = [line.rsplit("|", 1)[0] + "|" + ("0" if n == 0 else "1" if i > 8 else "0") for i, line in enumerate(lines[1:])]
        file.write_text("\n".join([lines[0], *flipped]) + "\n")
    one, two = scores(folder, tmp_path / "a"), scores(other, tmp_path / "b")
    first = [row for row in one if row[0] <= "p900010"]
    assert two[: len(first)] == first
    assert two[len(first) :] != one[len(first) :]


def test_jobs_never_change_a_byte(tmp_path, monkeypatch):
    folder = ward(tmp_path / "set", 7)
    monkeypatch.setattr(backtest, "TOGETHER", 3)
    scores(folder, tmp_path / "one")
    scores(folder, tmp_path / "two", "--jobs", 2)
    monkeypatch.setattr(backtest, "TOGETHER", 200)
    scores(folder, tmp_path / "together")
    content = (tmp_path / "one/scores.csv").read_bytes()
    assert (tmp_path / "two/scores.csv").read_bytes() == content
    assert (tmp_path / "together/scores.csv").read_bytes() == content


def test_whom_the_model_was_fitted_on_gets_another_fold(tmp_path):
    """Fitted here, on a made-up ward: the same bytes again, and nobody is scored by a model that saw them."""
    folder = ward(tmp_path / "set", 12)
    for name in ("a", "b"):
        run("fit-risk", folder, "--out", tmp_path / f"{name}.json", "--folds", 3)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    model = shipped.load("intensive_care", path=tmp_path / "a.json")
    assert [model.fold_of(f"p{900001 + n}") for n in (0, 3, 4, 11)] == [0, 0, 1, 2]
    assert model.fold_of("p900013") is None
    assert model.fold_of("p900001", in_sample=True) is None
    assert model.parameters("p900001").weights != model.parameters().weights
    without = msgspec.structs.replace(model, folds=[])
    with pytest.raises(shipped.InSample, match="p900001 is among those"):
        without.parameters("p900001")
    folds = scores(folder, tmp_path / "folds", "--model", tmp_path / "a.json")
    whole = scores(folder, tmp_path / "whole", "--model", tmp_path / "a.json", "--in-sample")
    assert folds != whole


def test_the_vital_signs_setting_is_told_no_laboratory_value(tmp_path):
    """In a joint twin a laboratory value would move the vital signs' levels, and that it was ordered would show."""
    folder, other = ward(tmp_path / "set", 8), ward(tmp_path / "other", 8)
    for file in other.glob("*.psv"):
        head, *rows = (line.split("|") for line in file.read_text().splitlines())
        for number, row in enumerate(rows):
            row[head.index("Lactate")], row[head.index("WBC")] = f"{1 + number % 5}", "30"
        file.write_text("\n".join("|".join(row) for row in [head, *rows]) + "\n")
    assert scores(other, tmp_path / "b") == scores(folder, tmp_path / "a")
    labs = "--setting", "laboratory"
    assert scores(other, tmp_path / "d", *labs) != scores(folder, tmp_path / "c", *labs)


def test_shipped_models_say_whom_they_saw():
    for setting in ("vital_signs", "laboratory"):
        model = shipped.load("intensive_care", setting)
        assert model.whole.people == ("p100001", "p106000")
        assert model.licence == "CC BY 4.0"
        found = shipped.numbers_of(model.terms, populations(signals.load())[model.cohort].models)
        assert model.signals.keys() == found.keys()
        for name, numbers in found.items():  # another last digit changes no feature that anybody could see
            changed = f"the model of {name} has changed: run stream-twin fit-risk again, see docs/backtests.md"
            assert model.signals[name] == pytest.approx(numbers, rel=0.005, abs=1e-4), changed
        assert model.fold_of("p104001") == 2
        assert model.fold_of("p106001") is None
        assert model.parameters().weights.keys() == model.parameters("p100001").weights.keys()


# -------------------------------------------------------------------------------------------------------------- t1d


def subject(folder: Path, person: str, readings: int, *, keep: int | None = None) -> None:
    """Glucose every five minutes, three meals a day; some readings twice, one absurd."""
    draw = random.Random(int(person))
    lines, meals, insulin = [], [], []
    rise = 0.0
    for n in range(readings):
        day, minute = divmod(n * 5, 1440)
        stamp = f"{day + 1:02d}/03/2023 {minute // 60:02d}:{minute % 60:02d}"
        if minute in (480, 780, 1140):
            rise = 3.0
            meals.append(f"{stamp},breakfast,50,400,10,20,5\n")
            insulin.append(f"{stamp},5\n")
        rise *= 0.97
        value = 7 + 2 * math.sin(minute / 1440 * 2 * math.pi) + rise + draw.gauss(0, 0.1)
        lines.append(f"{stamp},{0.1 if n == 50 else round(value, 1)}\n")
        if n % 60 == 7:
            lines.append(lines[-1])
    (folder / "Glucose Data").mkdir(parents=True, exist_ok=True)
    (folder / f"Glucose Data/UoMGlucose{person}.csv").write_text("bg_ts,value\n" + "".join(lines[:keep]))


def forecasts(folder: Path, out: Path, *more: object) -> tuple[list[list[str]], list[list[str]]]:
    run("backtest", "t1d", folder, "--out", out, *more)
    found = []
    for name in ("preds.csv", "alerts.csv", "told.csv"):
        with (out / name).open() as file:
            found.append(list(csv.reader(file)))
    assert [row[:2] for row in found[2]] == [row[:2] for row in found[1]]
    assert [row[2] for row in found[2][1:]] == [str(int(float(score) >= float(limit))) for _, _, score, _, limit in found[1][1:]]
    return found[0], found[1]


def test_forecasts_at_every_reading_and_none_changes_when_the_input_ends_sooner(tmp_path):
    subject(tmp_path / "whole", "2301", 700)
    subject(tmp_path / "cut", "2301", 700, keep=500)
    preds, alerts = forecasts(tmp_path / "whole", tmp_path / "a")
    assert preds[0] == ["subject", "time", "horizon_min", "pred_mgdl", "lo90", "hi90"]
    assert len(alerts) - 1 == 700 - 1  # one is absurd; what came twice is one reading
    assert len(preds) - 1 == 2 * (len(alerts) - 1)
    fewer, fewer_alerts = forecasts(tmp_path / "cut", tmp_path / "b")
    assert fewer == preds[: len(fewer)]
    assert fewer_alerts == alerts[: len(fewer_alerts)]


def test_forecasts_beat_the_last_reading(tmp_path):
    subject(tmp_path / "set", "2301", 2800)
    preds, _ = forecasts(tmp_path / "set", tmp_path / "out")
    with (tmp_path / "set/Glucose Data/UoMGlucose2301.csv").open() as file:
        truth = {}
        for row in csv.DictReader(file):
            day, month, year, clock = row["bg_ts"].replace(" ", "/").split("/")
            truth[f"{year}-{month}-{day} {clock}"] = 18.0182 * float(row["value"])
    times = list(truth)
    place = {time: n for n, time in enumerate(times)}
    ours, last, inside, count = 0.0, 0.0, 0, 0
    for _, time, horizon, mean, low, high in preds[2000:]:
        n = place[time] + int(horizon) // 5
        if n < len(times):
            wanted = truth[times[n]]
            ours += (float(mean) - wanted) ** 2
            last += (truth[time] - wanted) ** 2
            inside += float(low) <= wanted <= float(high)
            count += 1
    assert ours < 0.6 * last
    assert 0.84 < inside / count < 0.96


def test_people_in_parallel_give_the_same_bytes(tmp_path):
    for person in ("2301", "2302", "2303"):
        subject(tmp_path / "set", person, 60)
    forecasts(tmp_path / "set", tmp_path / "one")
    forecasts(tmp_path / "set", tmp_path / "two", "--jobs", 2)
    for name in ("preds.csv", "alerts.csv", "told.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_stay_alone_gives_what_it_gives_in_company(tmp_path):
    folder = ward(tmp_path / "set", 6)
    together = backtest.stays(signals.load(), folder, sepsis2019.people(folder))
    alone = [backtest.stays(signals.load(), folder, [person])[0] for person in sepsis2019.people(folder)]
    assert together == alone
