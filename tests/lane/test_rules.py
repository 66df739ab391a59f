"""Parameters of rules that come through their topic: from that record on, in every lane, the newest version."""

import msgspec
import pytest

from stream_twin import events
from stream_twin.events import RuleConfiguration
from stream_twin.lane import Lane, LaneSettings
from stream_twin.lane.lane import Checkpoint
from tests.lane.log import CATALOGUE, T0, Log, alerts, applied, dead_letters, encode, state


def configured(log, **given):
    log.send("rule.configurations", RuleConfiguration(**given), key=b"rules")


def low(log, start, seconds, patient="p"):
    """SpO2 of 87 % every 10 s."""
    for second in range(start, start + seconds, 10):
        log.sample(patient, "spo2", T0 + second, 87.0 + second % 20 / 20, device_id="clip")
        log.tick(T0 + second + 10)


def ward(**profile):
    log = Log()
    log.profile("p", age_years=60, **profile)
    log.tick(T0)
    return log


def raised(outputs):
    """When the limit was told, in seconds."""
    return [change.at - T0 for change in alerts(outputs) if (change.rule, change.state) == ("limits", "raised")]


def lasts(log):
    low(log, 100, 500)
    _, outputs = applied(log.records)
    (at,) = raised(outputs)
    return at - 100


def test_it_counts_from_its_record_on():
    log = ward()
    low(log, 100, 100)
    configured(log, version=1, rules={"limits": {"hold_s": 100}})
    low(log, 200, 100)
    _, outputs = applied(log.records)
    (at,) = raised(outputs)
    assert at == pytest.approx(210, abs=10)


@pytest.mark.parametrize(
    ("given", "profile", "seconds"),
    [
        ({}, {}, 180),
        ({"rules": {"limits": {"hold_s": 60}}}, {}, 60),
        ({"rules": {"limits": {"hold_s": 60}}, "populations": {"ward": {"limits": {"hold_s": 240}}}}, {}, 60),
        (
            {"rules": {"limits": {"hold_s": 60}}, "populations": {"ward": {"limits": {"hold_s": 240}}}},
            {"population": "ward"},
            240,
        ),
        ({"populations": {"ward": {"limits": {"hold_s": 240}}}}, {"cohort": "ward", "population": "ward", "age_years": 17}, 240),
        ({"patients": {"p": {"limits": {"hold_s": 120}}}}, {"population": "ward"}, 120),
        ({"patients": {"q": {"limits": {"hold_s": 120}}}}, {}, 180),
    ],
)
def test_whose_parameters_are_whose(given, profile, seconds):
    log = Log()
    log.profile("p", **{"age_years": 60, **profile})
    log.tick(T0)
    configured(log, version=1, **given)
    assert lasts(log) == pytest.approx(seconds, abs=15)


def test_a_newer_version_replaces_and_an_older_one_is_late():
    log = ward()
    configured(log, version=2, rules={"limits": {"hold_s": 240}})
    configured(log, version=1, rules={"limits": {"hold_s": 10}})
    configured(log, version=2, rules={"limits": {"hold_s": 240}})
    lane, _ = applied(log.records)
    assert (lane.fates()["late"], lane.fates()["duplicate"]) == (1, 1)
    assert lasts(log) == pytest.approx(240, abs=15)


def test_a_wrong_one_is_a_dead_letter_that_says_what_is_wrong_and_changes_nothing():
    log = ward()
    configured(log, version=1, rules={"limits": {"hold_s": 240}})
    configured(log, version=2, rules={"limits": {"hold_s": -1}, "limts": {}})
    lane, outputs = applied(log.records)
    assert dead_letters(outputs) == ["invalid_rules"]
    (detail,) = [dict(o.headers)["detail"].decode() for _, o in outputs if o.topic == "dead.letters"]
    assert "rules.limits.hold_s = -1" in detail
    assert "rules.limts" in detail
    assert lane.fates()["rejected"] == 1
    assert lasts(log) == pytest.approx(240, abs=15)


def test_it_goes_before_what_settings_say_and_survives_a_restart():
    log = ward()
    configured(log, version=1, rules={"limits": {"hold_s": 240}})
    first, _ = applied(log.records)
    snapshots, checkpoint = state(first)
    settings = LaneSettings(rules={"limits": {"hold_s": 10}})
    log.put(b"", first.configuration(settings))
    low(log, 100, 500)
    restored = Lane.restore(0, CATALOGUE, checkpoint, snapshots.items())
    outputs = restored.apply(log.records).outputs
    (at,) = raised(outputs)
    assert at - 100 == pytest.approx(240, abs=15)


@pytest.mark.parametrize("batch", [1, 3, 50])
def test_batches_make_no_difference(batch):
    log = ward()
    low(log, 100, 100)
    configured(log, version=1, patients={"p": {"limits": {"hold_s": 100}}})
    low(log, 200, 300)
    whole, outputs = applied(log.records)
    lane, others = applied(log.records, batch=batch)
    assert others == outputs
    assert state(lane) == state(whole)


def test_a_lane_of_a_later_generation_goes_on_with_it():
    log = ward()
    configured(log, version=1, rules={"limits": {"hold_s": 240}})
    first, _ = applied(log.records)
    grown = Log()
    grown.put(b"", encode(events.LaneBase(lanes_before=1, checkpoint=first.checkpoint(), positions={})))
    grown.profile("p", age_years=60)
    grown.tick(T0 + 50)
    assert lasts(grown) == pytest.approx(240, abs=15)


def test_without_a_version_it_is_refused_at_the_door():
    log = ward()
    body = msgspec.json.encode(RuleConfiguration(version=0, rules={"limits": {"hold_s": 240}}))
    done = log.ingest.run("rule.configurations", 0, [log.records[0]._replace(key=b"rules", value=body)], T0)
    assert [dict(letter.headers)["reason"] for letter in done.rejected] == [b"version"]


def test_numbers_too_big_to_save_are_refused():
    log = ward()
    configured(log, version=1, rules={"limits": {"hold_s": 2**70}})
    lane, outputs = applied(log.records)
    assert dead_letters(outputs) == ["invalid_rules"]
    assert lane.checkpoint()


@pytest.mark.parametrize(
    ("settings", "hold_s", "words"),
    [
        ({"rules": {"limits": {"hold_s": None, "max_age_s": 600.0}}}, 180, "rules.limits.hold_s = null, inf or nan"),
        ({"rules": {"limits": {"hold_s": 240.0}, "gone": {}}}, 240, "rules.gone: there is no such rule"),
        ({"lateness_s": {"streaming": None}}, 60, "the settings stay as they were: Expected `float`, got `null`"),
        ({"rules": {"limits": {"adult_years": 2**70}}}, 60, "the settings stay as they were"),
    ],
)
def test_settings_in_the_log_that_cannot_be_used_are_told_and_stop_no_lane(settings, hold_s, words):
    log = Log()
    for given in (LaneSettings(rules={"limits": {"hold_s": 60}}), settings):  # before the first tick, as a worker writes them
        log.put(b"", encode(events.Configured(settings=msgspec.Raw(encode(given)))))
    log.profile("p", age_years=60)
    log.tick(T0)
    lane, outputs = applied(log.records)
    assert dead_letters(outputs) == ["invalid_settings"]
    (detail,) = [dict(o.headers)["detail"].decode() for _, o in outputs if o.topic == "dead.letters"]
    assert words in detail
    assert lane.checkpoint()
    assert lasts(log) == pytest.approx(hold_s, abs=15)


OUTDATED = {
    "rules": {"limits": {"hold_s": 240, "renamed_since": 1.0}, "gone": {"x": 1}},
    "populations": {"ward": {"limits": {"hold_s": -1}, "risk": {"raise_at": 0.9}}},
}


def test_what_this_version_does_not_know_of_what_is_in_force_is_passed_over():
    checkpoint = msgspec.msgpack.encode(Checkpoint(rules=RuleConfiguration(version=3, **OUTDATED)))
    log = ward(population="ward")
    low(log, 100, 500)
    lane = Lane.restore(0, CATALOGUE, checkpoint, [])
    assert [problem.split(":")[0].split(" = ")[0] for problem in lane.unusable] == [
        "rules.limits.renamed_since",
        "rules.gone",
        "populations.ward.limits.hold_s",
        "populations.ward.risk",
    ]
    (at,) = raised(lane.apply(log.records).outputs)
    assert at - 100 == pytest.approx(240, abs=15)

    base = Log()
    base.put(b"", encode(events.LaneBase(lanes_before=1, checkpoint=checkpoint, positions={})))
    _, outputs = applied(base.records)
    assert dead_letters(outputs) == ["invalid_settings"]
