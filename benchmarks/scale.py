"""How large the measurements are: as wanted, or small enough for a test."""

from typing import NamedTuple


class Scale(NamedTuple):
    """Seconds and counts of all the measurements. The defaults are those of docs/performance.md."""

    events: int = 1_200_000
    """Of a backlog that one worker works off."""
    patients: int = 10_000
    rounds: int = 3
    """Of what is compared with peers, and repeats of what varies."""
    lanes: int = 4
    warm: int = 60_000
    """Events that a peer takes before it is timed: about as many as there are filters to make."""
    messages: int = 25_000
    """Series of a backlog."""
    warm_s: float = 10.0
    """Of a steady load, before what is measured."""
    measured_s: float = 20.0
    minutes: float = 3.0
    """Of the load under which memory must stay flat."""
    twins: tuple[int, ...] = (1_000, 10_000, 30_000, 100_000)
    copies: int = 10
    """Snapshots of each twin in ``twin.state`` at a restore."""
    pending: int = 10_000
    """Twins with an hour of pending samples."""
    crowds: tuple[int, ...] = (1_000, 10_000, 50_000)
    """Patients of the runs that show what one event costs."""
    lane_counts: tuple[int, ...] = (4, 16, 64)
    workers: tuple[int, ...] = (1, 2, 3)
    overload_s: float = 20.0


FULL = Scale()
QUICK = Scale(
    events=20_000,
    patients=500,
    rounds=1,
    warm=500,
    messages=400,
    warm_s=7.0,
    measured_s=5.0,
    minutes=0.2,
    twins=(500,),
    copies=3,
    pending=100,
    crowds=(200,),
    lane_counts=(4,),
    workers=(2,),
    overload_s=3.0,
)
"""To see that everything works; its numbers mean nothing."""
