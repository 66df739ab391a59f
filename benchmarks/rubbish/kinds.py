"""What a kind of bad input is."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from benchmarks.rubbish.good import Case, Record

Stage = Literal["ingest", "twin"]


class Kind(NamedTuple):
    """``message``: what it was made from; ``way``: what is wrong with it. The two together name it.

    ``make(case)``: the last record is the bad one; what it needs before it to be bad, good records, comes first.
    """

    topic: str
    message: str
    way: str
    reason: str
    make: Callable[[Case], list[Record]]
    stage: Stage = "ingest"

    @property
    def name(self) -> str:
        return f"{self.topic}, {self.message}: {self.way}"
