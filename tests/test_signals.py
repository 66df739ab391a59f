"""The catalogue: complete for the recordings, consistent, and with ranges that let real extremes through and traps not."""

import math
from pathlib import Path

import pytest

from stream_twin.events import CATALOGUE, LOINC
from stream_twin.signals import load

CATALOG = load()
SEPSIS = {
    "heart_rate",
    "spo2",
    "body_temperature",
    "systolic_blood_pressure",
    "mean_blood_pressure",
    "diastolic_blood_pressure",
    "respiratory_rate",
    "etco2",
    "base_excess",
    "hco3",
    "fio2",
    "ph",
    "paco2",
    "sao2",
    "ast",
    "bun",
    "alkaline_phosphatase",
    "calcium",
    "chloride",
    "creatinine",
    "bilirubin_direct",
    "glucose_lab",
    "lactate",
    "magnesium",
    "phosphate",
    "potassium",
    "bilirubin_total",
    "troponin_i",
    "hematocrit",
    "hemoglobin",
    "ptt",
    "wbc",
    "fibrinogen",
    "platelets",
}


def accepts(name: str, value: float, unit: str | None = None) -> bool:
    signal = CATALOG[name]
    factor, offset = signal.canonical(unit or signal.unit)
    low, high = signal.plausible
    return low <= value * factor + offset <= high


def test_the_34_variables_of_sepsis2019_are_there():
    assert len(SEPSIS) == 34
    assert set(CATALOG.signals) >= SEPSIS


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("8867-4", "heart_rate"),
        ("40443-4", "resting_heart_rate"),
        ("9279-1", "respiratory_rate"),
        ("59408-5", "spo2"),
        ("2708-6", "spo2"),
        ("8310-5", "body_temperature"),
        ("8480-6", "systolic_blood_pressure"),
        ("8462-4", "diastolic_blood_pressure"),
        ("8478-0", "mean_blood_pressure"),
        ("99504-3", "glucose"),
        ("2345-7", "glucose_lab"),
    ],
)
def test_loinc_codes(code: str, name: str):
    assert CATALOG.find(LOINC, code) is CATALOG[name]


@pytest.mark.parametrize("name", CATALOG.signals)
def test_own_name_is_a_code(name: str):
    assert CATALOG.find(CATALOGUE, name) is CATALOG[name]


@pytest.mark.parametrize("name", CATALOG.signals)
def test_entry_is_consistent(name: str):
    signal = CATALOG[name]
    low, high = signal.plausible
    assert signal.unit not in signal.units, "the canonical unit needs no conversion"
    assert all(factor > 0 for factor, _ in signal.units.values())
    mean = signal.model.mean
    centre = {
        "identity": lambda: mean,
        "log": lambda: math.exp(mean),
        "log_headroom": lambda: signal.ceiling + 1 - math.exp(-mean),
    }
    assert low <= centre[signal.transform]() <= high, "the model's mean is not a plausible value"
    spread = math.hypot(signal.model.between_sd, signal.model.slow_sd, signal.model.fast_sd, signal.model.noise_sd)
    assert 0 < spread < (high - low if signal.transform == "identity" else 3.5)


@pytest.mark.parametrize(
    ("name", "value", "unit"),
    [
        ("glucose", 22.2, "mmol/L"),
        ("glucose", 2.8, "mmol/L"),
        ("glucose", 1.2, "mmol/L"),
        ("glucose", 27.8, "mmol/L"),
        ("heart_rate", 38, None),
        ("heart_rate", 222, None),
        ("spo2", 70, None),
        ("spo2", 0.92, "1"),
        ("body_temperature", 104.9, "[degF]"),
        ("body_temperature", 30.9, None),
        ("wbc", 182.6, None),
        ("ast", 9961, None),
        ("troponin_i", 440, None),
        ("creatinine", 20.82, None),
        ("ph", 6.72, None),
        ("platelets", 2, None),
        ("calcium", 1.95, "mmol/L"),
        ("pm25", 994, None),
        ("pm25", 0, None),
        ("steps", 0, None),
        ("air_pressure", 760, "mm[Hg]"),
        ("fio2", 0.21, "1"),
        ("sleep_minutes", 31_260_000, "ms"),
    ],
)
def test_real_extremes_are_plausible(name: str, value: float, unit: str | None):
    assert accepts(name, value, unit)


@pytest.mark.parametrize(
    ("name", "value", "unit"),
    [
        ("glucose", 0.1, "mmol/L"),
        ("heart_rate", 0, None),
        ("respiratory_rate", 0, None),
        ("calcium", 1.15, None),
        ("calcium", 4.6, None),
        ("fio2", -50, "1"),
        ("fio2", 2, "1"),
        ("body_temperature", 36.6, "[degF]"),
        ("spo2", 10, None),
        ("systolic_blood_pressure", 11, None),
        ("diastolic_blood_pressure", 879, None),
        ("breathing_rate", 0, None),
        ("rmssd", 0, None),
        ("sleeping_heart_rate", 0, None),
        ("stress", 0, None),
    ],
)
def test_traps_of_the_recordings_are_not(name: str, value: float, unit: str | None):
    assert not accepts(name, value, unit)


@pytest.mark.parametrize(
    ("name", "unit", "value", "canonical"),
    [
        ("body_temperature", "[degF]", 98.6, 37.0),
        ("body_temperature", "K", 310.15, 37.0),
        ("glucose", "mmol/L", 5.5, 99.1001),
        ("creatinine", "umol/L", 88.42, 1.0),
        ("bilirubin_total", "umol/L", 17.104, 1.0),
        ("hemoglobin", "g/L", 120.0, 12.0),
        ("air_pressure", "mm[Hg]", 760.0, 1013.25),
        ("paco2", "kPa", 5.333, 40.0),
        ("body_weight", "[lb_av]", 154.32, 70.0),
        ("sleep_minutes", "h", 7.5, 450.0),
    ],
)
def test_conversions(name: str, unit: str, value: float, canonical: float):
    factor, offset = CATALOG[name].canonical(unit)
    assert value * factor + offset == pytest.approx(canonical, rel=1e-4)


def test_unknown_unit_has_no_conversion():
    assert CATALOG["heart_rate"].canonical("mg/dL") is None


ENTRY = """
[signals.{name}]
display = "Ketones"
scale = "molecular"
unit = "mmol/L"
loinc = "{loinc}"
plausible = [{low}, 30]
transform = "{transform}"
limits = [{limit}, inf]
[signals.{name}.model]
mean = -1.6
between_sd = 0.5
slow_sd = 0.4
fast_sd = 0.4
noise_sd = {noise}
source = "{source}"
"""
GOOD = {"name": "ketones", "loinc": "53060-9", "low": 0.01, "transform": "log", "limit": 0.02, "noise": 0.1, "source": "textbook"}


def written(directory: Path, *entries: dict[str, object]) -> Path:
    path = directory / "own.toml"
    path.write_text("".join(ENTRY.format(**{**GOOD, **entry}) for entry in entries))
    return path


def test_adding_a_signal_is_one_entry(tmp_path: Path):
    catalogue = load(written(tmp_path, {}))
    ketones = catalogue["ketones"]
    assert catalogue.find(LOINC, "53060-9") is ketones
    assert ketones.limits == (0.02, None)
    assert ketones.canonical("mmol/L") == (1.0, 0.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"low": -1}, "logarithm"),
        ({"low": 40}, "plausible"),
        ({"transform": "sqrt"}, "sqrt"),
        ({"limit": 0.001}, "limit"),
        ({"noise": 0}, "noise_sd"),
        ({"noise": -0.1}, "noise_sd"),
        ({"source": ""}, "source"),
    ],
)
def test_wrong_entry_is_named(tmp_path: Path, change: dict[str, object], says: str):
    with pytest.raises(ValueError, match=rf"(?s)ketones.*{says}"):
        load(written(tmp_path, change))


def test_two_signals_cannot_share_a_code(tmp_path: Path):
    with pytest.raises(ValueError, match="53060-9 is both ketones and others"):
        load(written(tmp_path, {}, {"name": "others"}))
