"""Blocks: the order of arrival does not matter within the lateness, nor where batches end, nor a snapshot in between."""

from math import nan
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin.twin.block import CHECKPOINT_EVERY, SavedBlock
from stream_twin.twin.blocks import MOST_CHANNELS, Blocks, series_identity
from stream_twin.twin.filter import SET_ASIDE, advance, from_working
from stream_twin.twin.state import LAST_AT, Row, code_of
from tests.twin import made
from tests.twin.made import CATALOGUE, CHANGES, HOUR, T0

BY = made.model()
NEVER = -1e18
USUAL = {name: from_working(made.scale_of(name), BY.models[name].mean) for name in CHANGES}
FIRST = "heart_rate"


class Offer(NamedTuple):
    """``signal``: or an input, where ``device`` is ``input``."""

    signal: str
    device: str | None
    identity: bytes
    at: float
    value: float
    version: int = 1
    side: int = 0


def identity(number):
    return number.to_bytes(8, "little")


def person(seed, n, corrections=True, devices=2, every=30.0):
    """Samples of several signals and devices, of known and unknown values, amounts, artefacts, corrections, retractions."""
    random = np.random.default_rng(seed)
    times = np.round(T0 + np.cumsum(random.exponential(every, n)), 3)
    times[1::9] = times[0::9][: len(times[1::9])]  # some at the same moment
    offers = []
    for k, at in enumerate(times.tolist()):
        if random.random() < 0.1:
            offer = Offer(
                str(random.choice(["insulin", "meal", "effort"])), "input", identity(k), at, float(random.uniform(1, 9))
            )
        else:
            signal = str(random.choice(list(CHANGES)))
            device = f"d{random.integers(devices)}" if signal in ("heart_rate", "glucose") else None
            value = USUAL[signal] * (1 + 0.03 * random.standard_normal()) * random.choice([1, 1, 1, 1, 1, 1, 1.5])
            value = 100.0 if signal == "spo2" and random.random() < 0.5 else min(value, CATALOGUE[signal].plausible[1])
            offer = Offer(signal, device, identity(k), at, float(value), 1, int(random.random() < 0.05))
        offers.append(offer)
        if corrections and random.random() < 0.15:
            other = offer.value * 1.01 if random.random() < 0.5 else nan
            offers.append(offer._replace(value=other, version=2, at=at + round(float(random.choice([0, 0, 40.0])), 3)))
    return offers


class Patient:
    """One block, and of each signal when its newest sample was taken, as a lane remembers it."""

    def __init__(self, blocks, lateness=1e9, by=BY, first=(FIRST, "d0")):
        self.blocks, self.by = blocks, by
        self.block = blocks.new(b"p", by, dict([first]), lateness)
        self.latest = {}

    def offer(self, offer, complete_to=NEVER):
        signal, device, number, at, value, version, side = offer
        if device == "input":
            return self.blocks.put_in(self.block, signal, number, at, value, version, complete_to)
        channel = self.blocks.channel(self.block, self.by, signal, device)
        latest = self.latest.get(signal, NEVER)
        fate = self.blocks.offer(self.block, code_of(channel, side), number, at, value, version, complete_to, latest)
        if fate == "applied":
            self.latest[signal] = max(latest, at)
        return fate

    def saved(self):
        return msgspec.msgpack.encode(self.blocks.save(self.block, self.by))

    def facts(self):
        """The state with the channels by their devices, since these are in the order in which they came."""
        layout, where, row = self.block.slab.plan.layout, Row.of(self.block.slab.plan.layout), self.block.row
        stats = {channel: its.tobytes() for channel, its in zip(self.block.channels, self.block.slab.stats(row), strict=True)}
        names = self.block.slab.plan.names
        assert len(layout.rates) == len(names.elements)
        return names.elements, names.inputs, row[: where.stats].tobytes(), stats, row[where.inputs :].tobytes()


def filled(offers, batch=7, ticks=False, limit=4000, **options):
    """Offer everything; with ``ticks`` one comes with every 10th, up to the newest so far."""
    blocks = Blocks(CATALOGUE, limit)
    patient = Patient(blocks, **options)
    fates, newest, complete = [], NEVER, NEVER
    for k, offer in enumerate(offers):
        if ticks and k % 10 == 9:
            blocks.flush()
            complete = newest
        fates.append(patient.offer(offer, complete))
        newest = max(newest, offer.at)
        if k % batch == batch - 1:
            blocks.flush()
    blocks.flush()
    return patient, fates


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 150), batch=st.integers(1, 40), shuffle=st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_state_to_the_last_bit(seed, n, batch, shuffle):
    offers = person(seed, n)
    expected, _ = filled(offers)
    shuffle.shuffle(offers)
    patient, fates = filled(offers, batch)
    assert {"applied"} <= set(fates) <= {"applied", "duplicate"}
    assert patient.facts() == expected.facts()


def test_two_devices_that_measure_at_one_moment_may_be_heard_in_any_order():
    """Their channels are numbered as they came."""
    both = [Offer(FIRST, device, identity(k), T0, 70.0 + 9 * k) for k, device in enumerate(("watch", "belt"))]
    others = [Offer("glucose", None, identity(7), T0, 150.0), Offer("insulin", "input", identity(8), T0, 3.0)]
    start = Offer("lactate", None, identity(9), T0 - 60, 1.5)
    facts = [filled([start, *some, *others])[0].facts() for some in (both, both[::-1])]
    assert facts[0] == facts[1] == filled([start, *others[::-1], *both[::-1]])[0].facts()


def test_the_person_of_these_tests_has_all_that_matters():
    offers = person(1, 400)
    patient, _ = filled(offers)
    assert {signal for signal, _ in patient.block.channels} == set(CHANGES)
    assert len(patient.block.channels) == len(CHANGES) + 2
    assert {offer.side for offer in offers} == {0, 1}
    assert any(np.isnan(offer.value) for offer in offers)
    inputs = patient.block.row[Row.of(patient.block.slab.plan.layout).inputs :][:4]
    assert (inputs[[0, 1, 3]] != 0).all()
    fates = np.concatenate([z for _, z in patient.blocks.take_surprises()])
    assert (np.abs(fates[np.isfinite(fates)]) > 5).any(), SET_ASIDE


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 1000),
    batch=st.integers(2, 60),
    disorder=st.sampled_from([0, 3, 40]),
    lateness=st.sampled_from([60.0, 900.0, 1e6]),
    limit=st.sampled_from([64, 4000]),
)
def test_where_batches_end_does_not_matter_even_for_what_is_remembered(seed, batch, disorder, lateness, limit):
    offers = person(seed, 350)
    random = np.random.default_rng(seed)
    offers = [offers[k] for k in np.argsort(np.arange(len(offers)) + disorder * random.random(len(offers)) ** 4, kind="stable")]
    offers += offers[::17]
    one, one_fates = filled(offers, 1, ticks=True, lateness=lateness, limit=limit)
    other, other_fates = filled(offers, batch, ticks=True, lateness=lateness, limit=limit)
    assert one_fates == other_fates
    assert one.saved() == other.saved()
    assert one.block.row.tobytes() == other.block.row.tobytes()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(1, 150), ticks=st.booleans(), shuffle=st.randoms(use_true_random=False))
def test_saved_and_loaded_it_goes_on_to_the_same_bytes(seed, cut, ticks, shuffle):
    offers = person(seed, 150)
    if not ticks:
        shuffle.shuffle(offers)
    options = {"lateness": 300.0 if ticks else 1e9}
    whole, _ = filled(offers[:cut], ticks=ticks, **options)
    saved = whole.saved()
    blocks = Blocks(CATALOGUE)
    blocks.free(blocks.new(b"x", BY, {"spo2": None}, 1.0))
    again = Patient(blocks)
    blocks.free(again.block)
    again.block = blocks.load(b"p", BY, msgspec.msgpack.decode(saved, type=SavedBlock))
    again.latest = dict(whole.latest)
    assert again.saved() == saved
    for k, offer in enumerate(offers[cut:]):
        complete = whole.block.seen_to if not ticks or k % 10 else offer.at - 100
        complete = max(complete, whole.block.seen_to)
        if complete != whole.block.seen_to:
            whole.blocks.flush()
            again.blocks.flush()
        assert whole.offer(offer, complete) == again.offer(offer, complete)
    whole.blocks.flush()
    again.blocks.flush()
    assert again.saved() == whole.saved()
    assert again.facts() == whole.facts()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), ticks=st.booleans(), disorder=st.sampled_from([0, 20]))
def test_a_new_signal_or_device_extends_the_state_and_leaves_the_rest_bit_for_bit(seed, ticks, disorder):
    """Against one that had all elements from the start: also what is remembered, and what comes late afterwards."""
    offers = person(seed, 200)
    random = np.random.default_rng(seed)
    offers = [offers[k] for k in np.argsort(np.arange(len(offers)) + disorder * random.random(len(offers)), kind="stable")]
    grown, fates = filled(offers, ticks=ticks, lateness=600.0)
    blocks = Blocks(CATALOGUE)
    ready = Patient(blocks, 600.0)
    for signal, device in grown.block.channels:  # in its order, so that bytes can be compared
        blocks.channel(ready.block, BY, signal, device)
    assert ready.block.channels == grown.block.channels
    again, newest, complete = [], NEVER, NEVER
    for k, offer in enumerate(offers):
        if ticks and k % 10 == 9:
            blocks.flush()
            complete = newest
        again.append(ready.offer(offer, complete))
        newest = max(newest, offer.at)
    blocks.flush()
    assert again == fates
    assert ready.facts() == grown.facts()
    saved, expected = (msgspec.msgpack.decode(its.saved(), type=SavedBlock) for its in (grown, ready))
    assert (saved.settled, saved.samples, saved.ids) == (expected.settled, expected.samples, expected.ids)


def test_other_signals_of_the_block_change_nothing_before_they_speak():
    """Who has only a heart rate so far gets of it what a person without the other signals gets."""
    offers = [offer for offer in person(2, 300, corrections=False) if offer.signal == FIRST]
    few, _ = filled(offers)
    for name in ("glucose", "lactate", "spo2"):
        few.blocks.channel(few.block, BY, name, None)
    alone, _ = filled(offers)
    looks = [its.blocks.look([(its.block, offers[-1].at + 100)])[0] for its in (few, alone)]
    assert looks[0][0][0] == looks[1][0][0]
    for driver, expected in zip(looks[0][1], looks[1][1], strict=True):
        assert driver[:3] == expected[:3]
        assert driver[3:] == [0.0, 0.0, 0.0]  # nothing of it from the others


def test_many_blocks_equal_each_alone():
    people = {k: person(k, 40 + k) for k in range(12)}
    blocks = Blocks(CATALOGUE)
    members = {k: Patient(blocks) for k in people}
    for step in range(max(map(len, people.values()))):
        for k, offers in people.items():
            if step < len(offers):
                members[k].offer(offers[step])
        if step % 5 == 4:
            blocks.flush()
    blocks.flush()
    for k, offers in people.items():
        assert members[k].facts() == filled(offers)[0].facts()


@pytest.mark.parametrize("count", [60, 575, 1035, 1500])
@pytest.mark.parametrize("behind", [1, 40, 333])
def test_restored_it_goes_on_the_same_also_where_a_late_sample_is_the_first_to_come(count, behind):
    """Checkpoints must lie where they lay, or what is settled later differs."""
    offers = steady(count + 200)
    late = offers.pop(max(count - behind, 1))
    whole, _ = filled(offers[:count], ticks=True, lateness=2000.0)
    blocks = Blocks(CATALOGUE)
    again = Patient(blocks)
    blocks.free(again.block)
    again.block = blocks.load(b"p", BY, msgspec.msgpack.decode(whole.saved(), type=SavedBlock))
    again.latest = dict(whole.latest)
    complete = whole.block.seen_to
    for k, offer in enumerate([late, *offers[count:]]):
        for patient in (whole, again):
            patient.offer(offer, complete)
        if k % 10 == 9:
            whole.blocks.flush()
            blocks.flush()
            complete = max(complete, offer.at)
    whole.blocks.flush()
    blocks.flush()
    assert again.saved() == whole.saved()
    assert again.block.row.tobytes() == whole.block.row.tobytes()


def test_layouts_that_all_have_left_take_no_memory():
    """Every patient begins with one signal, and moves on as others come."""
    blocks = Blocks(CATALOGUE)
    everybody = [Patient(blocks) for _ in range(100)]
    for name in list(CHANGES)[1:]:
        for patient in everybody:
            blocks.channel(patient.block, BY, name, None)
    assert list(blocks._slabs.values()) == [everybody[0].block.slab]
    assert all(np.isfinite(patient.block.row[: patient.block.slab.plan.d]).all() for patient in everybody)


# --------------------------------------------------------------------------------------------------- settling and being late


def steady(n, seed=1):
    random = np.random.default_rng(seed)
    return [Offer(FIRST, "d0", identity(k), T0 + 10.0 * k, 72 + float(random.standard_normal())) for k in range(n)]


def test_settled_samples_are_forgotten_and_older_ones_are_late():
    offers = steady(500)
    patient, _ = filled(offers, ticks=True, lateness=120.0)
    assert len(patient.block) <= 120 / 10 + 10 + 2 * CHECKPOINT_EVERY
    end = offers[-1].at
    assert patient.offer(Offer(FIRST, "d0", identity(9999), T0 + 5, 70.0), end) == "late"
    assert patient.offer(Offer(FIRST, "d0", identity(9998), end - 100, 70.0), end) == "applied"
    settled = patient.blocks.take_settled()
    assert settled
    assert {signal for _, signal, _ in settled} == {FIRST}
    assert abs(np.mean([z for _, _, z in settled])) < 1


def test_late_within_the_lateness_is_joined_exactly_although_others_were_settled():
    offers = steady(400)
    expected, _ = filled(offers, ticks=True, lateness=120.0)
    late = offers.pop(391)  # 80 s late
    patient, _ = filled([*offers, late], ticks=True, lateness=120.0)
    assert patient.facts() == expected.facts()


@pytest.mark.parametrize("behind", [1, 20, 300, 1500])
def test_a_late_sample_applies_again_what_came_after_it_and_little_else(behind):
    offers = steady(2000)
    late = offers.pop(2000 - 1 - behind)
    patient, _ = filled(offers)
    patient.blocks.take_surprises()
    assert patient.offer(late) == "applied"
    patient.blocks.flush()
    again = sum(len(signals) for signals, _ in patient.blocks.take_surprises())
    assert behind < again <= behind + 1 + CHECKPOINT_EVERY


def test_a_signal_s_first_and_newest_samples_are_never_too_late_but_count_as_older():
    """A laboratory's result that comes after everything around it was settled."""
    offers = steady(200)
    patient, _ = filled(offers, ticks=True, lateness=30.0)
    settled = patient.block.settled_at
    drawn = Offer("lactate", None, identity(777), settled - 4 * HOUR, 3.0)
    assert patient.offer(drawn, offers[-1].at) == "applied"
    patient.blocks.flush()
    number = patient.block.channels.index(("lactate", None))
    assert patient.block.slab.stats(patient.block.row)[number, LAST_AT] == drawn.at
    newer = patient.blocks.look([(patient.block, offers[-1].at)])[0][0][-1]
    fresh, _ = filled(offers, ticks=True, lateness=30.0)
    fresh.offer(drawn._replace(at=settled + 1), offers[-1].at)
    fresh.blocks.flush()
    fresher = fresh.blocks.look([(fresh.block, offers[-1].at)])[0][0][-1]
    assert CATALOGUE["lactate"].model.mean < newer[6] < fresher[6]
    assert newer[7] > fresher[7]  # less certain
    assert patient.offer(drawn._replace(identity=identity(778), at=drawn.at - 60), offers[-1].at) == "late"


def test_no_more_samples_are_kept_than_the_limit():
    patient, _ = filled(steady(1000), limit=64)
    assert 64 <= len(patient.block) <= 2 * 64 + 1
    assert patient.block.row.tobytes() == filled(steady(1000))[0].block.row.tobytes()


def test_waiting_longer_from_now_on_leaves_settled_what_was():
    offers = steady(100)
    patient, _ = filled(offers, ticks=True, lateness=60.0)
    settled = patient.block.settled_at
    assert settled > T0
    patient.blocks.allow(patient.block, 1e6, offers[-1].at)
    assert patient.block.lateness_s == 1e6
    assert patient.offer(Offer(FIRST, "d0", identity(500), settled - 5, 70.0), offers[-1].at) == "late"
    assert patient.offer(Offer(FIRST, "d0", identity(501), settled + 5, 70.0), offers[-1].at) == "applied"


def test_what_is_not_settled_can_be_taken_back_as_if_it_had_not_come():
    offers = steady(100)
    patient, _ = filled(offers, ticks=True, lateness=60.0)
    settled = msgspec.msgpack.decode(patient.saved(), type=SavedBlock).settled
    assert len(patient.block)
    patient.blocks.take_back(patient.block)
    assert patient.block.row.tobytes() == settled
    assert len(patient.block) == 0


# ------------------------------------------------------------------------------------ duplicates, corrections, retractions


def test_the_same_again_is_a_duplicate_and_another_body_a_conflict():
    offers = person(3, 20, corrections=False)
    patient, _ = filled(offers)
    before = patient.facts()
    sample = next(offer for offer in offers if offer.device != "input")
    assert patient.offer(sample) == "duplicate"
    assert patient.offer(sample._replace(value=sample.value + 1)) == "conflict"
    assert patient.offer(sample._replace(value=nan)) == "conflict"
    assert patient.offer(sample._replace(at=offers[-1].at + 50)) == "conflict"
    patient.blocks.flush()
    assert patient.facts() == before


def test_a_correction_gives_what_the_right_value_had_given():
    offers = person(4, 120, corrections=False)
    for number in (40, *(k for k, offer in enumerate(offers) if offer.device == "input")):
        right = [*offers[:number], offers[number]._replace(value=offers[number].value * 1.02), *offers[number + 1 :]]
        patient, _ = filled(offers)
        assert patient.offer(right[number]._replace(version=2)) == "applied"
        patient.blocks.flush()
        assert patient.facts() == filled(right)[0].facts()
        assert patient.offer(offers[number]) == "duplicate"


def test_a_retraction_gives_what_silence_had_given_also_when_it_comes_first():
    offers = person(5, 120, corrections=False)
    for number in (40, 41, *(k for k, offer in enumerate(offers) if offer.device == "input" and k > 20)):
        wrong = offers[number]
        without = filled(offers[:number] + offers[number + 1 :])[0].facts()
        patient, _ = filled(offers)
        assert patient.offer(wrong._replace(value=nan, version=2)) == "applied"
        patient.blocks.flush()
        assert patient.facts() == without
        patient, _ = filled(offers[:number])
        assert patient.offer(wrong._replace(value=nan, version=2)) == "applied"
        assert patient.offer(wrong) == "duplicate"
        for offer in offers[number + 1 :]:
            patient.offer(offer)
        patient.blocks.flush()
        assert patient.facts() == without


def test_a_retraction_that_comes_first_of_all_does_no_harm():
    patient = Patient(Blocks(CATALOGUE))
    first, second = steady(2)
    assert patient.offer(second._replace(value=nan, version=2)) == "applied"
    patient.blocks.flush()
    assert patient.offer(first) == "applied"
    assert patient.offer(second._replace(version=3)) == "applied"
    patient.blocks.flush()
    assert patient.facts() == filled([first, second])[0].facts()


def test_the_newest_value_is_that_of_the_newest_sample_that_counts():
    offers = steady(40)
    patient, _ = filled(offers)
    assert patient.block.newest(FIRST) == (offers[-1].value, offers[-1].at)
    patient.offer(offers[-1]._replace(value=nan, version=2))
    patient.blocks.flush()
    assert patient.block.newest(FIRST) == (offers[-2].value, offers[-2].at)
    settled, _ = filled(steady(40), ticks=True, lateness=1.0)
    settled.blocks.settle(settled.block, 1.0, 1e12)
    assert len(settled.block) == 0
    assert settled.block.newest(FIRST) == (offers[-1].value, offers[-1].at)


def test_devices_beyond_the_fourth_share_a_channel():
    patient = Patient(Blocks(CATALOGUE))
    channels = [patient.blocks.channel(patient.block, BY, FIRST, f"d{k}") for k in range(7)]
    assert channels == [0, 1, 2, MOST_CHANNELS - 1, 3, 3, 3]


# ------------------------------------------------------------------------------------------------------------------- series


@settings(max_examples=100, deadline=None)
@given(
    sent=st.lists(
        st.tuples(
            st.sampled_from([5, 2**64 - 3]),  # the second one's numbers run over
            st.integers(0, 60),
            st.integers(1, 60),
            st.sampled_from([10.0, -5.0]),
            st.sampled_from([0, 40, 400]),
            st.booleans(),
            st.sampled_from(["heart_rate", "glucose"]),
        ),
        min_size=1,
        max_size=8,
    ),
    limit=st.sampled_from([20, 4000]),
)
def test_a_series_in_one_go_is_its_samples_one_by_one(sent, limit):
    """With the same again, others of the same number, gaps, and some that go backwards in time."""
    whole, single = Patient(Blocks(CATALOGUE, limit), 120.0), Patient(Blocks(CATALOGUE, limit), 120.0)
    at = T0
    for first, start, length, step, further, tick, signal in sent:
        numbers = list(range(start, start + length))
        times = [at + further + step * k for k in range(length)]
        values = [USUAL[signal] + (first + k) % 7 for k in range(length)]
        codes = [code_of(its.blocks.channel(its.block, BY, signal, "d0")) for its in (whole, single)]
        assert codes[0] == codes[1]
        together = whole.blocks.extend(whole.block, codes[0], first, numbers, times, values, 1, at)
        fates = []
        for number, moment, value in zip(numbers, times, values, strict=True):
            own = series_identity(first, number)
            fates.append(single.blocks.offer(single.block, codes[0], own, moment, value, 1, at, NEVER))
            if not together:
                assert whole.blocks.offer(whole.block, codes[0], own, moment, value, 1, at, NEVER) == fates[-1]
        assert not together or set(fates) == {"applied"}
        if tick:
            whole.blocks.flush()
            single.blocks.flush()
            at = max(at, *times)
    whole.blocks.flush()
    single.blocks.flush()
    assert whole.saved() == single.saved()
    assert whole.facts() == single.facts()


# --------------------------------------------------------------------------------------------------------------------- leak


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(20, 120), shuffle=st.randoms(use_true_random=False))
def test_what_is_believed_is_the_same_whatever_comes_afterwards(seed, cut, shuffle):
    """The future cut off, and the future's values shuffled among its samples."""
    offers = person(seed, 150, corrections=False)
    shuffled = offers[cut:]
    values = [offer.value for offer in shuffled]
    shuffle.shuffle(values)
    other = [*offers[:cut], *(offer._replace(value=value) for offer, value in zip(shuffled, values, strict=True))]

    def beliefs(stream):
        blocks = Blocks(CATALOGUE)
        patient, looks = Patient(blocks), []
        for offer in stream:
            blocks.flush()
            looks.append(blocks.look([(patient.block, offer.at)])[0])  # before it is known
            patient.offer(offer)
        return looks

    expected = repr(beliefs(offers[: cut + 1]))  # repr: NaN equals itself
    assert repr(beliefs(other)[: cut + 1]) == expected


def test_looking_changes_nothing():
    patient, _ = filled(person(6, 100))
    before = patient.block.row.tobytes(), patient.saved()
    patient.blocks.look([(patient.block, T0 + 1e5), (patient.block, T0 - 1e5)])
    assert (patient.block.row.tobytes(), patient.saved()) == before
    row = patient.block.row.copy()
    advance(patient.block.slab.plan.layout, row, T0 + 1e5)
    looked = patient.blocks.look([(patient.block, T0 + 1e5)])[0]
    assert [driver[0] for driver in looked[1]] == row[: len(looked[1])].tolist()
