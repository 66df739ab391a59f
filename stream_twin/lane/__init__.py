"""One lane of patients: twin, learning and alerts put together. Pure."""

from stream_twin.lane.applied import Applied
from stream_twin.lane.base import base_of
from stream_twin.lane.lane import Lane, UpdateFailed
from stream_twin.lane.rebuilder import Rebuilder
from stream_twin.lane.settings import LaneSettings

__all__ = ["Applied", "Lane", "LaneSettings", "Rebuilder", "UpdateFailed", "base_of"]
