"""The timelines of ``timelines/``, each run as a lane runs it and in two ways that must make no difference."""

from pathlib import Path

import pytest

from tests.alerts.timeline import Ward, check, read

TIMELINES = sorted((Path(__file__).parent / "timelines").glob("*.txt"))


@pytest.mark.parametrize("path", TIMELINES, ids=lambda path: path.stem)
def test_timeline(path):
    timeline = read(path)
    check(timeline, Ward(timeline).run())


@pytest.mark.parametrize("path", TIMELINES, ids=lambda path: path.stem)
def test_nothing_changes_by_asking_every_second(path):
    """Else something would be overlooked because nothing woke the patient."""
    timeline = read(path)
    check(timeline, Ward(timeline, every_tick=True).run())


@pytest.mark.parametrize("path", TIMELINES, ids=lambda path: path.stem)
def test_nothing_changes_by_saving_and_restoring_the_book(path):
    timeline = read(path)
    assert Ward(timeline, forgetful=True).run() == Ward(timeline).run()


def test_there_are_timelines():
    assert len(TIMELINES) >= 20
