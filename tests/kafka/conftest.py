from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kafka.rig import Rig, fresh_prefix


@pytest.fixture
def rig(kafka: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """``rig(lanes=3)``: topics and workers for this test."""
    made: list[Rig] = []

    def make(lanes: int = 3) -> Rig:
        made.append(Rig(kafka, fresh_prefix(request.node.name), lanes, tmp_path))
        return made[-1]

    yield make
    for one in made:
        one.close()
