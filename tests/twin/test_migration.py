"""States under another model: kept by name, and where nothing is settled yet, as if the model had been there from the start."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin.twin import filter as kernel
from stream_twin.twin.block import SavedBlock
from stream_twin.twin.blocks import Blocks
from stream_twin.twin.filter import advance
from stream_twin.twin.migration import is_current, migrated
from stream_twin.twin.model import Names
from stream_twin.twin.state import Row, empty
from tests.twin import made
from tests.twin.made import CATALOGUE, CHANGES, T0, Textbook
from tests.twin.test_blocks import BY, Offer, Patient, filled, identity, person

NEXT = made.model(
    version=2,
    heart_rate={"circadian_sd": 0.0, "sensitivities": {}},
    spo2={"momentum": 0.7, "circadian_sd": 0.1},
    glucose={"effects": {"insulin": -20.0}, "sensitivities": {"insulin": 6.0}},
    lactate={"effects": {}},
)
"""Drops elements of heart rate and of glucose, adds some to oxygen saturation."""
APART = made.model(name="apart", **{name: {"loadings": {}} for name in CHANGES})
"""The same signals, each a block of its own."""


def saved_of(patient):
    patient.blocks.flush()
    return msgspec.msgpack.decode(patient.saved(), type=SavedBlock)


def settled(offers, by=BY):
    """A patient of whom nothing is pending."""
    patient, _ = filled(offers, by=by, lateness=1.0)
    patient.blocks.settle(patient.block, 1.0, 1e12)
    assert len(patient.block) == 0
    return patient


def elements(saved):
    """Mean by element, covariance by pair of elements, and time, of what is settled."""
    names = Names.parsed(saved.names).elements
    row, d = np.frombuffer(saved.settled), len(names)
    full = np.zeros((d, d))
    full[np.triu_indices(d)] = row[d : d + d * (d + 1) // 2]
    full += np.triu(full, 1).T
    pairs = {(a, b): full[i, j] for i, a in enumerate(names) for j, b in enumerate(names)}
    return dict(zip(names, row[:d].tolist(), strict=True)), pairs, full


def loaded(saved, by):
    blocks = Blocks(CATALOGUE)
    patient = Patient(blocks, by=by)
    blocks.free(patient.block)
    patient.block = blocks.load(b"p", by, saved)
    blocks.flush()
    return patient


def test_the_same_model_changes_nothing():
    saved = saved_of(filled(person(1, 100))[0])
    assert is_current(saved, BY)
    assert migrated([saved], BY) == [saved]
    assert not is_current(saved, NEXT)


def test_a_new_version_keeps_elements_by_name_adds_new_ones_and_drops_old_ones():
    old = saved_of(settled(person(2, 300)))
    [new] = migrated([old], NEXT)
    assert is_current(new, NEXT)
    means, pairs, _ = elements(old)
    after, after_pairs, full = elements(new)
    dropped, added = means.keys() - after.keys(), after.keys() - means.keys()
    assert dropped == {"heart_rate.cosine", "heart_rate.sine", "heart_rate.activity", "glucose.meal"}
    assert added == {"spo2.momentum", "spo2.cosine", "spo2.sine"}
    textbook = Textbook(NEXT, list(after), list(CHANGES))
    for a in after:
        assert after[a] == means.get(a, 0.0)
        for b in after:
            if a in means and b in means:
                assert after_pairs[a, b] == pairs[a, b]
            elif (a in means) != (b in means):
                assert after_pairs[a, b] == 0.0
            else:
                i, j = (textbook.elements.index(name) for name in (a, b))
                assert after_pairs[a, b] == pytest.approx(textbook.S[i, j], rel=1e-12)
    scaled = full / np.outer(textbook.sds, textbook.sds)
    assert np.linalg.eigvalsh(scaled).min() > 0  # also where a momentum comes to a deviation that is well known


def test_what_is_not_an_element_is_kept_by_name_too():
    offers = person(3, 300)
    patient = settled(offers)
    old, [new] = saved_of(patient), migrated([saved_of(patient)], NEXT)
    again = loaded(new, NEXT)
    stats = [its.block.slab.stats(its.block.row) for its in (patient, again)]
    assert again.block.channels == patient.block.channels
    assert stats[0].tobytes() == stats[1].tobytes()
    assert (new.settled_at, new.seen_to, new.lateness_s) == (old.settled_at, old.seen_to, old.lateness_s)
    looks = [its.blocks.look([(its.block, offers[-1].at)])[0][1] for its in (patient, again)]
    np.testing.assert_allclose(looks[0], looks[1], rtol=1e-12)  # drivers, and who contributed what
    inputs = [
        dict(zip(its.block.slab.plan.inputs, its.block.row[Row.of(its.block.slab.plan.layout).inputs :], strict=False))
        for its in (patient, again)
    ]
    assert inputs[0] == {"meal": inputs[0]["meal"], **inputs[1]}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), further=st.integers(0, 60))
def test_where_nothing_is_settled_a_new_version_is_as_if_it_had_been_there_from_the_start(seed, further):
    offers = person(seed, 120)
    patient = loaded(migrated([saved_of(filled(offers)[0])], NEXT)[0], NEXT)
    gone = [offer for offer in offers if offer.signal != "meal"]  # which has no effect any more
    expected, _ = filled(gone, by=NEXT)
    more = [offer for offer in person(seed + 1, further) if offer.signal != "meal"]
    for offer in more:
        fresh = offer._replace(identity=b"more" + offer.identity[:4], at=offer.at + 1e4)
        assert patient.offer(fresh) == expected.offer(fresh)
    patient.blocks.flush()
    expected.blocks.flush()
    assert patient.facts() == expected.facts()


def apart(offers):
    """One block for each signal, as a lane has them; amounts go into every block that has the input."""
    patients = {}
    for offer in offers:
        if offer.device != "input":
            if offer.signal not in patients:
                patients[offer.signal] = Patient(Blocks(CATALOGUE), by=APART, first=(offer.signal, offer.device))
            patients[offer.signal].offer(offer)
        else:
            for patient in patients.values():
                if offer.signal in patient.block.slab.plan.inputs:
                    patient.offer(offer)
    for patient in patients.values():
        patient.blocks.flush()
    return patients


def started(seed, n):
    """First a sample of each signal, so that every block is there when amounts come."""
    first = [Offer(name, "d0" if name in ("heart_rate", "glucose") else None, identity(10**6 + k), T0 - 60 + k, made_usual(name))
             for k, name in enumerate(CHANGES)]  # fmt: skip
    return first + person(seed, n)


def made_usual(name):
    return kernel.from_working(made.scale_of(name), BY.models[name].mean)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_blocks_join_and_split_as_if_they_had_been_so_from_the_start(seed):
    offers = started(seed, 120)
    separate, together = apart(offers), filled(offers)[0]
    [joined] = migrated([saved_of(patient) for patient in separate.values()], BY)
    assert loaded(joined, BY).facts() == together.facts()
    split = {block.channels[0][0]: loaded(block, APART) for block in migrated([saved_of(together)], APART)}
    assert split.keys() == separate.keys()
    for name, patient in separate.items():
        assert split[name].facts() == patient.facts()


def test_settled_blocks_that_join_bring_what_each_knew_to_the_latest_moment():
    offers = [offer for offer in started(4, 200) if offer.device != "input"]
    separate = apart(offers)
    saves = []
    for patient in separate.values():
        patient.blocks.settle(patient.block, 1.0, 1e12)
        saves.append(saved_of(patient))
    [joined] = migrated(saves, BY)
    means, pairs, full = elements(joined)
    latest = max(offer.at for offer in offers if not np.isnan(offer.value))
    for patient in separate.values():
        plan, row = patient.block.slab.plan, patient.block.row.copy()
        advance(plan.layout, row, latest)
        covariance = made.covariance(plan, row)
        for i, a in enumerate(plan.elements):
            assert means[a] == pytest.approx(row[i], rel=1e-12)
            for j, b in enumerate(plan.elements):
                assert pairs[a, b] == pytest.approx(covariance[i, j], rel=1e-9, abs=1e-15)
    assert all(means[driver] == 0.0 and pairs[driver, driver] == pytest.approx(1.0) for driver in made.DRIVERS)
    assert pairs["heart_rate.fast", "lactate.slow"] == 0.0
    assert np.linalg.eigvalsh(full).min() > 0


@pytest.mark.parametrize("settled_ones", [[], ["glucose"], ["lactate"], list(CHANGES)])
def test_amounts_count_once_when_blocks_join_and_levels_below_zero_are_kept(settled_ones):
    """A meal acts on glucose and on lactate: both blocks had it. One may have settled it, and the other not."""
    patients = apart(started(5, 0))
    meal = Offer("meal", "input", identity(1), T0 + 10, 40.0)
    cold = Offer("effort", "input", identity(2), T0 + 10, -7.0)
    took = []
    for name, patient in patients.items():
        took += [
            (name, offer.signal)
            for offer in (meal, cold)
            if offer.signal in patient.block.slab.plan.inputs and patient.offer(offer)
        ]
        if name in settled_ones:
            patient.blocks.settle(patient.block, 1.0, 1e12)
    assert took == [("heart_rate", "effort"), ("glucose", "meal"), ("lactate", "meal")]
    joined = loaded(migrated([saved_of(patient) for patient in patients.values()], BY)[0], BY)
    plan, row = joined.block.slab.plan, joined.block.row.copy()
    advance(plan.layout, row, T0 + 10)
    inputs = dict(zip(plan.inputs, row[Row.of(plan.layout).inputs :], strict=False))
    assert inputs["meal"] == pytest.approx(40.0, rel=1e-12)
    assert inputs["effort"] == pytest.approx(-7.0, rel=1e-12)


def test_a_block_without_samples_starts_from_the_population():
    patient = Patient(Blocks(CATALOGUE))
    [new] = migrated([saved_of(patient)], NEXT)
    again = loaded(new, NEXT)
    assert again.block.row.tobytes() == empty(again.block.slab.plan.layout).tobytes()
