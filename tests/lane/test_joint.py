"""The joint state through ingest and lane: units, comparators, order, another population, and nothing of the future."""

from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin import events
from stream_twin.lane import Lane
from stream_twin.signals import Catalogue
from stream_twin.twin import filter as kernel
from stream_twin.twin.model import key_of, shipped
from stream_twin.twin.state import Row
from tests.lane.log import CATALOGUE, T0, Log, applied
from tests.twin import made

PATIENT = "p"
USUAL = {
    "heart_rate": (72, 5),
    "respiratory_rate": (15, 1.5),
    "body_temperature": (36.8, 0.2),
    "lactate": (1.6, 0.2),
    "glucose": (130, 9),
}


def observation(number, signal, at, value, **fields):
    return events.Observation(
        **{
            "id": f"o{number}",
            "patient_id": PATIENT,
            "code": signal,
            "code_system": events.CATALOGUE,
            "unit": CATALOGUE[signal].unit,
            "measured_at": at,
            "value": value,
            "device_kind": "bedside",
        }
        | fields
    )


def begun(population="intensive_care"):
    log = Log()
    log.tick(T0 - 100)
    log.profile(PATIENT, population=population, age_years=60)
    return log


def facts(lane):
    """Of each block: elements, mean and covariance, statistics by device, contents of inputs and contributions."""
    found = {}
    for head, block in lane.patients[PATIENT.encode()].blocks.items():
        where, row = Row.of(block.slab.plan.layout), block.row
        stats = {channel: its.tobytes() for channel, its in zip(block.channels, block.slab.stats(row), strict=True)}
        found[head] = block.slab.plan.elements, row[: where.stats].tobytes(), stats, row[where.inputs :].tobytes()
    return found


def believed(lane, at):
    return {name: (its.level, its.low, its.high, its.baseline) for name, its in lane.belief(PATIENT, at).signals.items()}


def run(log):
    return applied(log.records)[0]


# ------------------------------------------------------------------------------------------------------------------- units

OTHER_UNITS = {
    "glucose": ("mmol/L", lambda value: value / 18.0182),
    "body_temperature": ("[degF]", lambda value: value * 1.8 + 32),
    "lactate": ("mg/dL", lambda value: value / 0.111),
    "heart_rate": ("Hz", lambda value: value / 60),
}


def test_units_do_not_matter():
    """The same blood in mg/dL and in mmol/L, the same fever in Fahrenheit and in Celsius."""
    random = np.random.default_rng(1)
    own, other = begun(), begun()
    for number in range(200):
        signal = str(random.choice(list(OTHER_UNITS)))
        usual, sd = USUAL[signal]
        at, value = T0 + 120.0 * number, usual + sd * float(random.standard_normal())
        unit, converted = OTHER_UNITS[signal]
        own.send("clinical.observations", observation(number, signal, at, value))
        other.send("clinical.observations", observation(number, signal, at, converted(value), unit=unit))
    lanes = run(own), run(other)
    at = T0 + 120.0 * 200
    here, there = (believed(lane, at) for lane in lanes)
    assert set(here) == set(OTHER_UNITS)
    for name in here:
        assert there[name] == pytest.approx(here[name], rel=1e-9)
    drivers = [lane.belief(PATIENT, at).drivers for lane in lanes]
    assert drivers[0]
    for name, its in drivers[0].items():
        assert drivers[1][name].mean == pytest.approx(its.mean, rel=1e-8, abs=1e-11)
        assert sum(its.contributions.values()) == pytest.approx(its.mean, rel=1e-9, abs=1e-12)


def test_short_ids_of_different_signals_are_different_samples():
    """As of a source that counts up, each signal by itself."""
    log = begun()
    for number in range(100, 180):
        for k, (signal, (usual, _)) in enumerate(USUAL.items()):
            log.send("clinical.observations", observation("", signal, T0 + 5.0 * number + k, float(usual), id=f"{number}"))
    assert run(log).fates() == {"applied": 1 + 1 + 80 * len(USUAL)}  # with the tick and the profile


# --------------------------------------------------------------------------------------------------------------- censoring


@pytest.mark.parametrize(("comparator", "side"), [("<", -1), ("<=", -1), (">", 1), (">=", 1), (None, 0)])
def test_a_comparator_makes_a_sample_a_censored_one(comparator, side):
    """Down to the bits what the kernel makes of it; from below and above the belief moves to its side and stays unsure."""
    log = begun()
    values = [1.5, 1.6, 1.4]
    for number, value in enumerate(values):
        log.send("clinical.observations", observation(number, "lactate", T0 + 3600.0 * number, value))
    log.send("clinical.observations", observation(9, "lactate", T0 + 4 * 3600.0, 2.0, comparator=comparator))
    lane = run(log)
    plan = shipped(CATALOGUE)["intensive_care"].plan(key_of([("lactate", 1)], CATALOGUE))
    row = made.empty(plan)
    seen, _ = made.follow(
        plan,
        row,
        [*(T0 + 3600.0 * np.arange(3)), T0 + 4 * 3600.0],
        [*values, 2.0],
        [1, 1, 1, made.code(plan, "lactate", side=side)],
    )
    assert seen[-1, 3] == (kernel.USED if side == 0 else kernel.CENSORED)
    [block] = lane.patients[PATIENT.encode()].blocks.values()
    assert block.row.tobytes() == row[0].tobytes()


def test_comparators_order_what_is_believed():
    levels = {}
    for comparator in ("<", None, ">"):
        log = begun()
        log.send("clinical.observations", observation(1, "lactate", T0, 3.0, comparator=comparator))
        its = run(log).belief(PATIENT, T0).signals["lactate"]
        levels[comparator] = its.level, its.working_sd
    assert levels["<"][0] < levels[None][0] < 3.0 < levels[">"][0]
    assert levels[None][1] < min(levels["<"][1], levels[">"][1])


@pytest.mark.parametrize("side", [-1, 1])
def test_a_value_at_a_detection_limit_is_only_known_to_be_beyond(side):
    """A catalogue whose method stops there, to the bits as if the sample had a comparator."""
    value = 30.0
    limits = (value, 150.0) if side < 0 else (10.0, value)
    limited = Catalogue(
        [
            msgspec.structs.replace(its, model=msgspec.structs.replace(its.model, detection=limits)) if its.name == "ptt" else its
            for its in CATALOGUE.signals.values()
        ]
    )
    rows = []
    for catalogue, comparator in ((limited, None), (CATALOGUE, "<" if side < 0 else ">"), (CATALOGUE, None)):
        log = begun("home")
        log.send("clinical.observations", observation(1, "ptt", T0, value, comparator=comparator))
        lane = Lane(0, catalogue)
        lane.apply(log.records)
        rows.append(lane.patients[PATIENT.encode()].blocks["ptt"].row.tobytes())
    assert rows[0] == rows[1] != rows[2]


# ------------------------------------------------------------------------------------------------------------ order, leaks


def messages(seed, n):
    """Samples of several signals and devices, amounts, corrections and retractions, after one of each signal."""
    random = np.random.default_rng(seed)
    found = [
        ("clinical.observations", observation(f"first-{name}", name, T0 - 60.0, float(usual)))
        for name, (usual, _) in USUAL.items()
    ]
    for number in range(n):
        at = T0 + round(float(random.uniform(0, 20_000)), 1)
        if random.random() < 0.1:
            kind = random.integers(3)
            common = {"id": f"e{number}", "patient_id": PATIENT, "at": at}
            event = (
                events.Insulin(kind="rapid", dose_units=4.0, **common)
                if kind == 0
                else events.Meal(carbohydrates_g=40.0, **common)
                if kind == 1
                else events.Oxygen(fraction=0.4, **common)
            )
            found.append(("clinical.events", event))
            continue
        signal = str(random.choice(list(USUAL)))
        usual, sd = USUAL[signal]
        device = {"device_id": f"d{random.integers(2)}"} if signal == "heart_rate" else {}
        value = usual + sd * float(random.standard_normal())
        sample = observation(number, signal, at, value, **device)
        found.append(("clinical.observations", sample))
        if random.random() < 0.1:
            status = str(random.choice(["corrected", "entered-in-error"]))
            found.append(("clinical.observations", msgspec.structs.replace(sample, value=value * 1.01, version=2, status=status)))
    return found


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), population=st.sampled_from(["home", "intensive_care"]))
def test_any_order_of_arrival_gives_the_same_twin_to_the_last_bit(seed, population):
    everything, random = messages(seed, 60), Random(seed)
    lanes = []
    for _ in range(2):
        log = begun(population)
        for topic, message in everything:
            log.send(topic, message)
        log.tick(T0 + 30_000)
        lanes.append(run(log))
        random.shuffle(everything)
    assert facts(lanes[0]) == facts(lanes[1])
    assert believed(lanes[0], T0 + 30_000) == believed(lanes[1], T0 + 30_000)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(10, 50))
def test_what_is_put_out_is_the_same_whatever_comes_afterwards(seed, cut):
    """The future cut off, and shuffled: also for alerts and examples to learn from."""
    ordered = sorted(
        messages(seed, 60), key=lambda sent: sent[1].at if isinstance(sent[1], events.ClinicalEvent) else sent[1].measured_at
    )
    future = ordered[cut:]
    Random(seed).shuffle(future)
    told = []
    for stream in (ordered[:cut], ordered, ordered[:cut] + future):
        log = begun()
        log.profile(PATIENT, population="intensive_care", age_years=60, cohort="intensive_care", version=2)
        for number, (topic, message) in enumerate(stream):
            log.send(topic, message)
            if number % 5 == 4:
                log.tick(T0 + 400.0 * number)
            if number == cut - 1:
                end = len(log.records)
        told.append([(offset, output) for offset, output in applied(log.records)[1] if offset < end])
    assert len(told[0]) > 3
    assert told[0] == told[1] == told[2]


def test_insulin_and_meals_act_on_glucose_at_home():
    """By the population's file: through two compartments each, so at once not at all, and most after an hour or two."""
    moments = T0 + 60 + 600.0 * np.arange(30)
    levels = {}
    for name, event in (
        ("nothing", None),
        ("insulin", events.Insulin(id="e", patient_id=PATIENT, at=T0 + 60, kind="rapid", dose_units=5.0)),
        ("meal", events.Meal(id="e", patient_id=PATIENT, at=T0 + 60, carbohydrates_g=50.0)),
    ):
        log = begun("home")
        log.send("clinical.observations", observation(1, "glucose", T0, 150.0))
        if event is not None:
            log.send("clinical.events", event)
        lane = run(log)
        levels[name] = np.array([lane.belief(PATIENT, float(at)).signals["glucose"].level for at in moments])
    for name, way in (("insulin", -1), ("meal", 1)):
        effect = way * (levels[name] - levels["nothing"])
        assert abs(effect[0]) < 1e-6
        assert effect.max() > 5
        assert 4 <= effect.argmax() <= 20
        assert effect[-1] < effect.max()


# -------------------------------------------------------------------------------------------------------------- migration


def test_another_population_takes_a_twin_over_by_the_names_of_its_elements():
    log = begun("home")
    for topic, message in messages(3, 80):
        log.send(topic, message)
    log.tick(T0 + 3 * 86400)
    for number, name in enumerate(USUAL):  # so that all before is settled
        log.send("clinical.observations", observation(f"last{number}", name, T0 + 3 * 86400, float(USUAL[name][0])))
    before = run(log)
    old = believed(before, T0 + 3 * 86400)
    log.profile(PATIENT, population="intensive_care", age_years=60, version=2)
    after = run(log)
    patient = after.patients[PATIENT.encode()]
    assert patient.population.population.name == "intensive_care"
    assert len(patient.blocks) < len(before.patients[PATIENT.encode()].blocks)  # which join
    for name, (level, low, high, _) in believed(after, T0 + 3 * 86400).items():
        width = old[name][2] - old[name][1]
        assert level == pytest.approx(old[name][0], abs=width / 2)
        assert low < level < high
    for block in patient.blocks.values():
        covariance = made.covariance(block.slab.plan, block.row)
        sds = np.sqrt(np.diag(covariance))
        assert np.linalg.eigvalsh(covariance / np.outer(sds, sds)).min() > 0
    restored = Lane.restore(0, CATALOGUE, after.checkpoint(), [(key, after.snapshot(key)) for key in after.patients])
    more = observation("more", "heart_rate", T0 + 3 * 86400 + 60, 80.0)
    end = len(log.records)
    log.send("clinical.observations", more)
    after.apply(log.records[end:])
    restored.apply(log.records[end:])
    assert facts(restored) == facts(after)
