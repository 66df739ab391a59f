"""Measurements, each a command; all write ``build/reports/NAME.json``."""
