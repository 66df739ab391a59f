"""The drift test on its own: what it finds, what it leaves alone, and that saving changes nothing."""

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from river.drift import PageHinkley

from stream_twin.learn.drift import DELTA, MIN_CHUNKS, THRESHOLD, Drift, DriftState


def test_lasting_change_is_found_and_the_test_starts_anew():
    draw = random.Random(3)
    drift = Drift()
    quiet = [drift.update(draw.gauss(0, 1)) for _ in range(300)]
    moved = [drift.update(draw.gauss(1.5, 1)) for _ in range(60)]
    assert not any(quiet)
    assert 5 < moved.index(True) < 40
    assert drift.state.drifts == 1
    assert drift.state.chunks == 59 - moved.index(True)


def test_both_directions():
    for sign in (1, -1):
        drift = Drift()
        found = [drift.update(sign * (0.0 if n < 100 else 2.0)) for n in range(130)]
        assert found.index(True) > 100


def test_quiet_noise_seldom_drifts():
    draw = random.Random(11)
    drift = Drift()
    assert sum(drift.update(draw.gauss(0, 1)) for _ in range(20_000)) <= 2


def test_one_absurd_chunk_is_not_a_drift():
    drift = Drift()
    assert not any(drift.update(1e9 if n == 50 else 0.0) for n in range(200))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-8, 8), max_size=120), st.lists(st.floats(-8, 8), max_size=120))
def test_restored_behaves_identically(before, after):
    drift = Drift()
    for value in before:
        drift.update(value)
    saved = msgspec.msgpack.encode(drift.state)
    other = Drift(msgspec.msgpack.decode(saved, type=DriftState))
    assert [other.update(v) for v in after] == [drift.update(v) for v in after]
    assert other.state == drift.state


def test_is_rivers_page_hinkley():
    """Against a River object of its own which nobody saved or restored."""
    draw = random.Random(5)
    river = PageHinkley(min_instances=MIN_CHUNKS, delta=DELTA, threshold=THRESHOLD)
    state = DriftState()
    for n in range(2000):
        value = draw.gauss(2.0 * (n // 200 % 2), 1)
        drift = Drift(state)
        river.update(value)
        assert drift.update(value) == river.drift_detected
        state = drift.state
    assert state.drifts > 3
