"""Tracks: the order of arrival does not matter within the lateness, nor where batches end, nor a snapshot in between."""

from math import nan

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin.signals import SignalModel
from stream_twin.twin import kernel
from stream_twin.twin.kernel import Parameters
from stream_twin.twin.tracks import CHECKPOINT_EVERY, SavedTrack, Tracks, series_identity

MODEL = SignalModel(mean=70, between_sd=8, slow_sd=4, fast_sd=6, noise_sd=2, circadian_sd=3)
NEVER = -1e18
PARAMETERS = Parameters(
    rates=np.array([kernel.rates(MODEL)]),
    stationary=kernel.stationary(MODEL)[kernel.UPPER][None],
    means=np.array([MODEL.mean]),
    noise=np.array([MODEL.noise_sd**2]),
    scale=np.array([[0.0, 0.0, 0.5]]),
    plausible=np.array([[0.0, 300.0]]),
)


def identity(number):
    return number.to_bytes(8, "little")


def stream(seed, n):
    rng = np.random.default_rng(seed)
    times = np.round(1.7e9 + np.cumsum(rng.exponential(30, n)), 3)
    times[1::9] = times[0::9][: len(times[1::9])]  # some at the same moment
    return [(identity(k), float(t), float(70 + 8 * rng.standard_normal())) for k, t in enumerate(times)]


def filled(samples, batch=7, complete_to=NEVER, lateness=120.0, limit=4000):
    """Offer the samples; with ``complete_to`` not NEVER a tick comes with every 10th sample, up to the newest so far."""
    tracks = Tracks(PARAMETERS, limit)
    track = tracks.new(b"p", 0, lateness)
    fates = []
    newest = complete = NEVER
    for k, (number, at, value) in enumerate(samples):
        if complete_to != NEVER and k % 10 == 9:
            tracks.flush(complete)
            complete = newest
        fates.append(tracks.offer(track, number, at, value, 1, complete))
        newest = max(newest, at)
        if k % batch == batch - 1:
            tracks.flush(complete)
    tracks.flush(complete)
    return tracks, track, fates


def state(tracks, track):
    return tracks.state[track.slot].tobytes()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 150), batch=st.integers(1, 40), shuffle=st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_state_to_the_last_bit(seed, n, batch, shuffle):
    samples = stream(seed, n)
    expected = state(*filled(samples)[:2])
    shuffle.shuffle(samples)
    tracks, track, fates = filled(samples, batch)
    assert set(fates) == {"applied"}
    assert state(tracks, track) == expected


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 1000),
    batch=st.integers(2, 60),
    disorder=st.sampled_from([0, 3, 40]),
    lateness=st.sampled_from([60.0, 900.0, 1e6]),
    limit=st.sampled_from([64, 4000]),
)
def test_where_batches_end_does_not_matter_even_for_what_is_remembered(seed, batch, disorder, lateness, limit):
    samples = stream(seed, 400)
    rng = np.random.default_rng(seed)
    samples = [samples[k] for k in np.argsort(np.arange(400) + disorder * rng.random(400) ** 4, kind="stable")]
    samples += samples[::17]
    one = filled(samples, 1, complete_to=0.0, lateness=lateness, limit=limit)
    other = filled(samples, batch, complete_to=0.0, lateness=lateness, limit=limit)
    assert one[2] == other[2]
    assert msgspec.msgpack.encode(one[0].save(one[1])) == msgspec.msgpack.encode(other[0].save(other[1]))


def test_settled_samples_are_forgotten_and_older_ones_are_late():
    rng = np.random.default_rng(1)
    samples = [(identity(k), 1.7e9 + 10 * k, 70 + float(rng.standard_normal())) for k in range(500)]
    tracks, track, _ = filled(samples, complete_to=0.0)
    assert len(track.at) <= 120 / 10 + 2 * CHECKPOINT_EVERY
    assert tracks.offer(track, identity(9999), 1.7e9 + 5, 70.0, 1, samples[-1][1]) == "late"
    assert tracks.offer(track, identity(9998), samples[-1][1] - 100, 70.0, 1, samples[-1][1]) == "applied"
    settled = tracks.take_settled()
    assert settled
    assert abs(np.mean([z for _, z in settled])) < 1


def test_late_within_the_lateness_is_joined_exactly_although_others_were_settled():
    rng = np.random.default_rng(2)
    samples = [(identity(k), 1.7e9 + 10 * k, 70 + float(rng.standard_normal())) for k in range(400)]
    expected = state(*filled(samples, complete_to=0.0)[:2])
    late = samples.pop(391)  # 80 s late
    tracks, track, _ = filled([*samples, late], complete_to=0.0)
    assert state(tracks, track) == expected


def test_the_same_again_is_a_duplicate_and_another_body_a_conflict():
    samples = stream(3, 20)
    tracks, track, _ = filled(samples)
    before = state(tracks, track)
    number, at, value = samples[7]
    assert tracks.offer(track, number, at, value, 1, NEVER) == "duplicate"
    assert tracks.offer(track, number, at, value + 1, 1, NEVER) == "conflict"
    assert tracks.offer(track, number, samples[-1][1] + 50, value, 1, NEVER) == "conflict"
    tracks.flush(NEVER)
    assert state(tracks, track) == before


def test_a_correction_gives_what_the_right_value_had_given():
    samples = stream(4, 90)
    number, at, _ = samples[40]
    right = [*samples[:40], (number, at, 55.0), *samples[41:]]
    tracks, track, _ = filled(samples)
    assert tracks.offer(track, number, at, 55.0, 2, NEVER) == "applied"
    tracks.flush(NEVER)
    assert state(tracks, track) == state(*filled(right)[:2])
    assert tracks.offer(track, *samples[40], 1, NEVER) == "duplicate"


def test_a_retraction_gives_what_silence_had_given_also_when_it_comes_first():
    samples = stream(5, 90)
    number, at, value = samples[40]
    without = state(*filled(samples[:40] + samples[41:])[:2])
    tracks, track, _ = filled(samples)
    assert tracks.offer(track, number, at, nan, 2, NEVER) == "applied"
    tracks.flush(NEVER)
    assert state(tracks, track) == without
    tracks, track, _ = filled(samples[:40])
    assert tracks.offer(track, number, at, nan, 2, NEVER) == "applied"
    assert tracks.offer(track, number, at, value, 1, NEVER) == "duplicate"
    for sample in samples[41:]:
        tracks.offer(track, *sample, 1, NEVER)
    tracks.flush(NEVER)
    assert state(tracks, track) == without


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(1, 149), shuffle=st.randoms(use_true_random=False))
def test_saved_and_loaded_it_goes_on_exactly(seed, cut, shuffle):
    samples = stream(seed, 150)
    shuffle.shuffle(samples)
    expected, track, _ = filled(samples)
    tracks, half, _ = filled(samples[:cut])
    saved = msgspec.msgpack.encode(tracks.save(half))
    again = Tracks(PARAMETERS)
    again.free(again.new(b"x", 0, 1.0))
    loaded = again.load(b"p", 0, msgspec.msgpack.decode(saved, type=SavedTrack))
    assert msgspec.msgpack.encode(again.save(loaded)) == saved
    for sample in samples[cut:]:
        again.offer(loaded, *sample, 1, NEVER)
    again.flush(NEVER)
    assert state(again, loaded) == state(expected, track)


def test_many_tracks_equal_each_alone():
    streams = {k: stream(k, 40 + k) for k in range(12)}
    together = Tracks(PARAMETERS)
    members = {k: together.new(b"%d" % k, 0, 60.0) for k in streams}
    for step in range(60):
        for k, samples in streams.items():
            if step < len(samples):
                together.offer(members[k], *samples[step], 1, NEVER)
        if step % 5 == 4:
            together.flush(NEVER)
    for k, samples in streams.items():
        assert state(together, members[k]) == state(*filled(samples)[:2])


def test_a_retraction_that_comes_first_of_all_does_no_harm():
    number, at, value = stream(6, 1)[0]
    tracks = Tracks(PARAMETERS)
    track = tracks.new(b"p", 0, 60.0)
    assert tracks.offer(track, number, at, nan, 2, NEVER) == "applied"
    tracks.flush(NEVER)
    assert tracks.offer(track, identity(77), at - 10, value, 1, NEVER) == "applied"
    assert tracks.offer(track, number, at, value, 3, NEVER) == "applied"
    tracks.flush(NEVER)
    assert state(tracks, track) == state(*filled([(identity(77), at - 10, value), (number, at, value)])[:2])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), batch=st.integers(2, 50), lateness=st.sampled_from([60.0, 900.0]))
def test_where_batches_end_does_not_matter_for_corrections_retractions_and_repeats_either(seed, batch, lateness):
    samples = stream(seed, 200)
    rng = np.random.default_rng(seed)
    offers = []
    for k, (number, at, value) in enumerate(samples):
        offers.append((number, at, value, 1))
        if rng.random() < 0.3:
            again, at_, value_ = samples[max(0, k - int(rng.integers(0, 40)))]
            kind = rng.random()
            offers.append(
                (again, at_, nan if kind < 0.3 else value_ + (kind < 0.6), 1 if kind > 0.5 else int(rng.integers(2, 4)))
            )

    def run(step):
        tracks = Tracks(PARAMETERS, 64)
        track = tracks.new(b"p", 0, lateness)
        fates, complete, newest = [], NEVER, NEVER
        for k, (number, at, value, version) in enumerate(offers):
            if k % 10 == 9:
                tracks.flush(complete)
                complete = newest
            fates.append(tracks.offer(track, number, at, value, version, complete))
            newest = max(newest, at)
            if k % step == step - 1:
                tracks.flush(complete)
        tracks.flush(complete)
        return fates, msgspec.msgpack.encode(tracks.save(track))

    assert run(1) == run(batch)


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
        ),
        min_size=1,
        max_size=8,
    ),
    limit=st.sampled_from([20, 4000]),
)
def test_a_series_in_one_go_is_its_samples_one_by_one(sent, limit):
    """With the same again, others of the same number, gaps, and some that go backwards in time."""
    whole, single = Tracks(PARAMETERS, limit), Tracks(PARAMETERS, limit)
    track, other = whole.new(b"p", 0, 120.0), single.new(b"p", 0, 120.0)
    taken, at = 0, 1.7e9
    for first, start, length, step, further, tick in sent:
        numbers = list(range(start, start + length))
        times = [at + further + step * k for k in range(length)]
        values = [70.0 + (first + k) % 7 for k in range(length)]
        together = whole.extend(track, first, numbers, times, values, 1, at)
        taken += together
        fates = []
        for number, moment, value in zip(numbers, times, values, strict=True):
            identity = series_identity(first, number)
            fates.append(single.offer(other, identity, moment, value, 1, at))
            if not together:
                assert whole.offer(track, identity, moment, value, 1, at) == fates[-1]
        assert not together or set(fates) == {"applied"}
        if tick:
            whole.flush(at)
            single.flush(at)
            at = max(at, *times)
    whole.flush(at)
    single.flush(at)
    assert msgspec.msgpack.encode(whole.save(track)) == msgspec.msgpack.encode(single.save(other))
