"""The catalogue of signals: what each is called, its units, its plausible range and its model. Data: ``signals.toml``."""

import math
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from stream_twin.events import CATALOGUE, LOINC

Scale = Literal["molecular", "cellular", "tissue", "organ", "whole_body", "behaviour", "environment"]
Transform = Literal["identity", "log", "log_headroom"]
"""The filter's working scale: the value, its logarithm, or minus the logarithm of ``ceiling + 1 - value``:
always increasing in the value. At the logarithm's end values are taken half a display step inside it."""


class SignalModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a signal moves in the population; standard deviations and mean on the working scale, times in seconds.

    baseline: Ornstein-Uhlenbeck around ``mean`` with ``between_sd`` and ``baseline_s``; slow and fast deviations around it;
    a daily rhythm of amplitude about ``circadian_sd``; a sample's own ``noise_sd``. 0 leaves a part out.
    ``momentum`` in 0..1: how strongly a fast deviation carries on in its direction (0: plain Ornstein-Uhlenbeck).
    """

    mean: float
    between_sd: float
    slow_sd: float
    fast_sd: float
    noise_sd: float
    circadian_sd: float = 0.0
    circadian2_sd: float = 0.0
    """Of a rhythm of half a day."""
    baseline_s: float = 30 * 86400.0
    slow_s: float = 12 * 3600.0
    fast_s: float = 1800.0
    momentum: float = 0.0
    momentum_s: float = 600.0
    """Time constant of the momentum; less than ``fast_s``."""
    loadings: dict[str, float] = {}
    """What one standard deviation of a latent driver of the population does to the signal."""
    effects: dict[str, float] = {}
    """What one unit left in an input's compartment does to it."""
    sensitivities: dict[str, float] = {}
    """How much that differs between persons: standard deviation of the effect, by input."""
    noise_tail: float = math.inf
    """The same, of a sample's own noise only: for signals whose surprises mostly are real."""
    tail: float = math.inf
    """Degrees of freedom of Student's t distribution of innovations: how little a surprising sample is trusted; inf: normal."""
    noise_count: float = math.inf
    """For how many of a person's samples the population's noise counts; inf: a person's own is never learnt."""
    detection: tuple[float | None, float | None] = (None, None)
    """Lowest and highest value that the method can tell, canonical unit: a sample there, or beyond, is censored."""
    source: str = ""

    def check(self, name: str) -> None:
        """Raise ValueError where it contradicts itself; ``name``: of the signal."""
        for part in ("between_sd", "slow_sd", "fast_sd", "noise_sd", "circadian_sd", "circadian2_sd"):
            if not getattr(self, part) >= 0:
                raise ValueError(f"signal {name}: {part} is {getattr(self, part)}, but must be 0 or more")
        if self.noise_sd == 0:
            raise ValueError(f"signal {name}: noise_sd is 0, but every sample has some")
        if not any((self.between_sd, self.slow_sd, self.fast_sd)):
            raise ValueError(f"signal {name}: it never moves, all of between_sd, slow_sd, fast_sd are 0")
        if not 0 <= self.momentum <= 1 or (self.momentum and not self.momentum_s < self.fast_s):
            raise ValueError(f"signal {name}: momentum must be in 0..1 and momentum_s less than fast_s")
        if not self.tail > 2 or not self.noise_tail > 2 or not self.noise_count > 0:  # below, Student's t has no variance
            raise ValueError(f"signal {name}: tail and noise_tail must be above 2 and noise_count above 0")
        if not self.source:
            raise ValueError(f"signal {name}: its model does not say where its numbers come from (source)")


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """One entry. ``units``: accepted UCUM unit -> [factor, offset], canonical = value * factor + offset."""

    name: str
    display: str
    scale: Scale
    unit: str
    plausible: tuple[float, float]
    """Inclusive, in the canonical unit; outside is a dead letter."""
    model: SignalModel
    codes: dict[str, list[str]] = {}
    """Code system -> codes. The catalogue's own name is always one."""
    units: dict[str, tuple[float, float]] = {}
    transform: Transform = "identity"
    ceiling: float = 100.0
    decimals: int = 1
    limits: tuple[float | None, float | None] = (None, None)
    """Default alert limits for an adult, low and high, in the canonical unit; ``inf`` in the file means none."""

    def canonical(self, unit: str) -> tuple[float, float] | None:
        """Factor and offset from ``unit`` to the canonical unit; None where the unit is not accepted."""
        return (1.0, 0.0) if unit == self.unit else self.units.get(unit)


class Catalogue:
    """All signals, by name and by code."""

    def __init__(self, signals: list[Signal]) -> None:
        self.signals = {signal.name: signal for signal in signals}
        self.order = {name: number for number, name in enumerate(self.signals)}
        self._by_code: dict[tuple[str, str], Signal] = {}
        for signal in signals:
            _check(signal)
            for system, code in [(CATALOGUE, signal.name), *((s, c) for s, codes in signal.codes.items() for c in codes)]:
                if self._by_code.setdefault((system, code), signal) is not signal:
                    raise ValueError(f"{system} {code} is both {self._by_code[system, code].name} and {signal.name}")

    def find(self, system: str, code: str) -> Signal | None:
        return self._by_code.get((system, code))

    def __getitem__(self, name: str) -> Signal:
        return self.signals[name]

    def __contains__(self, name: str) -> bool:
        return name in self.signals

    def __len__(self) -> int:
        return len(self.signals)


def _check(signal: Signal) -> None:
    """Raise ValueError where an entry contradicts itself."""
    low, high = signal.plausible
    if not low < high:
        raise ValueError(f"signal {signal.name}: plausible {low} to {high} is empty")
    if signal.transform == "log" and low < 0:
        raise ValueError(f"signal {signal.name}: plausible starts at {low}, but a logarithm knows no value below 0")
    if signal.transform == "log_headroom" and high > signal.ceiling:
        raise ValueError(f"signal {signal.name}: plausible ends at {high}, above its ceiling {signal.ceiling}")
    for limit in signal.limits:
        if limit is not None and not low <= limit <= high:
            raise ValueError(f"signal {signal.name}: limit {limit} is outside the plausible range {low} to {high}")
    signal.model.check(signal.name)


def load(path: Path | None = None) -> Catalogue:
    """Read a catalogue; by default the product's own.

    Raises:
        ValueError: an entry is wrong, or two share a code; the message names it.
    """
    path = path or Path(__file__).with_name("signals.toml")
    entries = tomllib.loads(path.read_text())["signals"]
    signals = []
    for name, entry in entries.items():
        loinc = entry.pop("loinc", [])
        codes = {**entry.pop("codes", {}), **({LOINC: loinc if isinstance(loinc, list) else [loinc]} if loinc else {})}
        try:
            if "limits" in entry:
                entry["limits"] = [None if math.isinf(limit) else limit for limit in entry["limits"]]
            signals.append(msgspec.convert({"name": name, "codes": codes, **entry}, Signal))
        except msgspec.ValidationError as error:
            raise ValueError(f"signal {name} in {path.name}: {error}") from error
    return Catalogue(signals)
