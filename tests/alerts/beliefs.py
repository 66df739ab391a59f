"""Beliefs of all kinds, made by hypothesis: whatever may be missing is missing somewhere."""

from collections.abc import Callable, Sequence
from datetime import date

from hypothesis import strategies as st

from stream_twin.events import Limits, Profile, Risk
from stream_twin.signals import load
from stream_twin.twin.belief import Belief, DeviceBelief, Expected, NightBelief, OnsetBelief, SignalBelief

CATALOGUE = load()
NOW = 1_772_150_400.0
DEVICES = ("watch", "clip", "lab")
ages = st.sampled_from([-30.0, 0.0, 20.0, 700.0, 5000.0, 1e5, 1e7])
deviations = st.floats(-8, 8)


@st.composite
def signals(draw: st.DrawFn, name: str) -> SignalBelief:
    signal = CATALOGUE[name]
    values = st.floats(*signal.plausible)
    value = draw(values)
    return SignalBelief(
        signal=signal,
        model=signal.model,
        level=draw(values),
        low=value,
        high=value,
        baseline=draw(values),
        deviation=draw(deviations),
        deviation_sd=draw(st.floats(0.05, 1.0)),
        surprise=0.0,
        last_value=value,
        last_at=NOW - draw(ages),
        working_mean=0.0,
        working_sd=1.0,
        device=draw(st.sampled_from([None, "unknown", *DEVICES])),
        repeats=draw(st.sampled_from([0, 1, 50, 500])),
        repeats_since=NOW - 10_000,
        period_s=draw(st.sampled_from([0.0, 86400.0])),
    )


@st.composite
def devices(draw: st.DrawFn, name: str) -> DeviceBelief:
    return DeviceBelief(
        device_id=name,
        kind=draw(st.sampled_from(["streaming", "syncing", "laboratory", "bedside"])),
        last_at=draw(st.one_of(st.just(0.0), ages.map(lambda age: NOW - age))),
        every_s=draw(st.sampled_from([None, 5.0, 300.0, 86400.0])),
        start=draw(st.sampled_from([None, NOW - 1e6, NOW - 100, NOW + 100])),
        end=draw(st.sampled_from([None, NOW - 1000, NOW + 1000])),
    )


@st.composite
def beliefs(draw: st.DrawFn) -> Belief:
    names = draw(st.lists(st.sampled_from(sorted(CATALOGUE.signals)), unique=True, max_size=6))
    names += [name for name in ("spo2", "heart_rate", "respiratory_rate") if name not in names and draw(st.booleans())]
    limits = Limits(low=draw(st.sampled_from([None, 60.0])), high=draw(st.sampled_from([None, 100.0])))
    risk = Risk(
        probability=draw(st.floats(0, 1)),
        cohort="home",
        model_version=1,
        at=NOW - draw(ages),
        reasons={"lactate": 1.0, "age": -0.2},
    )
    return Belief(
        patient_id="p-1",
        at=NOW,
        clock=NOW,
        complete_to=NOW - draw(st.sampled_from([0.0, 1.0, 600.0])),
        profile=Profile(
            patient_id="p-1",
            valid_from=0.0,
            age_years=draw(st.sampled_from([None, 5, 70])),
            time_zone=draw(st.sampled_from([None, "Europe/Berlin"])),
            pregnant=draw(st.sampled_from([None, None, True])),
            spo2_scale=draw(st.sampled_from([1, 2])),
            limits={name: limits for name in names if draw(st.booleans())},
        ),
        signals={name: draw(signals(name)) for name in names},
        devices={name: draw(devices(name)) for name in DEVICES if draw(st.booleans())},
        risk=draw(st.sampled_from([None, risk])),
        watched_since=NOW - draw(st.sampled_from([0.0, 3600.0, 1e6])),
        expects=draw(expectations()),
        oxygen=draw(st.sampled_from([None, (True, NOW - 60), (False, NOW - 1e6)])),
        consciousness=draw(st.sampled_from([None, ("alert", NOW - 60), ("confusion", NOW - 60), ("pain", NOW - 1e6)])),
        night=draw(st.one_of(st.none(), st.sampled_from([0, 1, 2]).map(night))),
        onset=draw(st.one_of(st.none(), st.tuples(st.sampled_from([-3.0, 0.2, 4.0]), st.sampled_from([0.001, 0.5])).map(onset))),
    )


def onset(told: tuple[float, float]) -> OnsetBelief:
    values, usual = {"resting_heart_rate": 70.0, "steps": 900.0}, {"resting_heart_rate": 62.0, "steps": 0.0}
    return OnsetBelief(date(2026, 2, 27), NOW - 3600, *told, days=40, values=values, usual=usual)


def night(level: int) -> NightBelief:
    return NightBelief(date=date(2026, 2, 27), at=NOW - 3600, rate=61 + 2 * level, baseline=60, level=level, nights=9)


@st.composite
def expectations(draw: st.DrawFn) -> Callable[[str, Sequence[float]], list[Expected]] | None:
    mean, sd = draw(st.floats(-10, 500)), draw(st.floats(0.01, 50))
    return draw(st.sampled_from([None, lambda name, at: [Expected(CATALOGUE[name], mean, sd) for _ in at]]))
