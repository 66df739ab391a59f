"""A population as the text of its file: the same population, the same bytes."""

import math

from stream_twin.signals import SignalModel
from stream_twin.twin.model import Population


def text(population: Population, remark: str) -> str:
    """``remark``: lines at the top, without their number sign."""
    lines = [f"# {line}".rstrip() for line in remark.splitlines()]
    lines += [
        f"name = {_string(population.name)}",
        f"version = {population.version}",
        f"date = {_string(population.date)}",
        f"holds_for = {_string(population.holds_for)}",
        "attribution = [",
        *(f"    {_string(credit)}," for credit in population.attribution),
        "]",
    ]
    if population.youngest != 18.0:
        lines.append(f"youngest = {_number(population.youngest)}")
    if population.pregnancy:
        lines.append("pregnancy = true")
    for name, driver in population.drivers.items():
        lines += ["", f"[drivers.{name}]", f"display = {_string(driver.display)}", f"scale = {_string(driver.scale)}"]
        lines += [f"time_s = {_number(driver.time_s)}", f"source = {_string(driver.source)}"]
    for name, given in population.inputs.items():
        lines += ["", f"[inputs.{name}]", f"display = {_string(given.display)}", f"unit = {_string(given.unit)}"]
        lines += [f"time_s = {_number(given.time_s)}"]
        if given.signal is not None:
            lines.append(f"signal = {_string(given.signal)}")
        if given.level:
            lines.append("level = true")
        if given.offset:
            lines.append(f"offset = {_number(given.offset)}")
        lines += [f"source = {_string(given.source)}"]
    for name, model in population.signals.items():
        lines += ["", f"[signals.{name}]", *_model(model)]
    return "\n".join(lines) + "\n"


def _model(model: SignalModel) -> list[str]:
    """The mean, all standard deviations that are needed, the times of parts that are there, and what differs from the default."""
    kept = [f"{part} = {_number(getattr(model, part))}" for part in ("mean", "between_sd", "slow_sd", "fast_sd", "noise_sd")]
    if model.circadian_sd:
        kept.append(f"circadian_sd = {_number(model.circadian_sd)}")
    kept += [f"{p}_s = {_number(getattr(model, p + '_s'))}" for p in ("baseline",) if model.between_sd > 0]
    kept += [f"{p}_s = {_number(getattr(model, p + '_s'))}" for p in ("slow", "fast") if getattr(model, p + "_sd") > 0]
    if model.momentum:
        kept += [f"momentum = {_number(model.momentum)}", f"momentum_s = {_number(model.momentum_s)}"]
    for field in ("tail", "noise_tail", "noise_count"):
        if math.isfinite(getattr(model, field)):
            kept.append(f"{field} = {_number(getattr(model, field))}")
    if model.detection != (None, None):
        low, high = model.detection
        kept.append(f"detection = [{_number(-math.inf if low is None else low)}, {_number(math.inf if high is None else high)}]")
    for field in ("loadings", "effects", "sensitivities"):
        if numbers := getattr(model, field):
            kept.append(f"{field} = {{ " + ", ".join(f"{name} = {_number(value)}" for name, value in numbers.items()) + " }")
    return [*kept, f"source = {_string(model.source)}"]


def _number(value: float) -> str:
    return repr(float(value)).replace("e+", "e")


def _string(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
