"""Recordings and the simulated ward, as streams of source messages."""
