"""Bytes of a source record -> an input of the lane's log, or a rejection with its reason. Pure."""

from stream_twin.ingest.ingest import EVERY_LANE, Bounds, Ingest, Ingested, SourceRecord
from stream_twin.ingest.reasons import REASONS

__all__ = ["EVERY_LANE", "REASONS", "Bounds", "Ingest", "Ingested", "SourceRecord"]
