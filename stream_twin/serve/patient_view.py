"""One patient's twin as text: what is believed, how sure, from when, and which alerts are open."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stream_twin.events import AlertChange, Profile
from stream_twin.serve.ward_view import COLOURS, FAINT, MARKS, PRIORITIES, QUIET, age, moment
from stream_twin.signals import Catalogue
from stream_twin.twin.belief import Belief, SignalBelief

FAR = 2.0
"""A deviation of so many standard deviations is pointed out."""
AWAY, PARTS, LEAST_PART = 0.5, 4, 0.05
"""A driver is told that far from usual, with so many signals of which each moves it by at least so much; standard deviations."""
SD90 = 1.6449


def patient_view(belief: Belief, alerts: Sequence[AlertChange], catalogue: Catalogue, width: int) -> RenderableType:
    """``alerts``: those that are open. Below 100 columns it is not said from which device a sample came."""
    local = belief.local_time()
    stood = f"{moment(belief.clock):%Y-%m-%d %H:%M:%S} UTC" + (f", {local:%H:%M} for the patient" if local else "")
    head = Text.assemble((belief.patient_id, "bold"), "  ", (about(belief.profile), QUIET), "\n", (f"as of {stood}", QUIET))
    table = Table(box=box.SIMPLE_HEAD, border_style=FAINT, header_style=QUIET, pad_edge=False, padding=(0, 1, 0, 0))
    headings = ("signal", "level", "90 %", "usual", "last", "age", "from")[: 7 if width >= 100 else 6]
    numbers = {"level", "usual", "last", "age"}
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numbers else "left", no_wrap=True)
    for name in catalogue.signals:
        if name in belief.signals:
            table.add_row(*_cells(belief.signals[name], belief.clock, alerts)[: len(headings)])
    risk = Text("")
    if belief.risk is not None:
        reasons = ", ".join(f"{name} {weight:+.2f}" for name, weight in belief.risk.reasons.items())
        text = f"risk {belief.risk.probability:.0%} ({belief.risk.cohort}, model {belief.risk.model_version}): {reasons}\n"
        risk = Text(text, style=QUIET)
    return Group(head, table, *_drivers(belief, catalogue), *_doubts(belief), risk, *_alerts(alerts, belief.clock))


def about(profile: Profile) -> str:
    """Who this is, in a few words; what is not known is left out."""
    who = [
        f"{profile.age_years} years" if profile.age_years is not None else None,
        profile.sex,
        profile.place,
        f"cohort {profile.cohort}" if profile.cohort else None,
        profile.state if profile.state != "enrolled" else None,
        *(f"{name} {label}" for name, label in profile.subgroups.items() if name != "sex"),
    ]
    return ", ".join(filter(None, who))


def _cells(signal: SignalBelief, clock: float, alerts: Sequence[AlertChange]) -> list[Text]:
    decimals, unit = signal.signal.decimals, signal.signal.unit
    subject = [change for change in alerts if change.subject == signal.signal.name]
    colour = COLOURS[min((change.priority for change in subject), key=PRIORITIES.__getitem__)] if subject else ""
    usual = Text(f"{signal.baseline:.{decimals}f}", style=QUIET)
    if abs(signal.deviation) >= FAR:
        usual.append(f" {'▲' if signal.deviation > 0 else '▼'}{abs(signal.deviation):.1f} sd")
    return [
        Text.assemble((signal.signal.display.split(",")[0], colour), " ", (unit, QUIET)),
        Text(f"{signal.level:.{decimals}f}", style=f"bold {colour}".strip()),
        Text(f"{signal.low:.{decimals}f} to {signal.high:.{decimals}f}"),
        usual,
        Text(f"{signal.last_value:.{decimals}f}"),
        Text(age(clock - signal.last_at)),
        Text(signal.device or "", style=QUIET),
    ]


def _drivers(belief: Belief, catalogue: Catalogue) -> list[Text]:
    """Latent drivers that are away from usual, the furthest first, and by which signals. Contributions add up to the mean."""
    lines = []
    for driver in sorted(belief.drivers.values(), key=lambda driver: -abs(driver.mean)):
        if abs(driver.mean) < AWAY:
            break
        line = Text.assemble((f"{driver.driver.display} ", ""), (f"{driver.mean:+.1f} ± {SD90 * driver.sd:.1f} sd", "bold"))
        parts = sorted(driver.contributions.items(), key=lambda part: -abs(part[1]))
        told = [f"{catalogue[name].display.split(',')[0]} {part:+.2f}" for name, part in parts[:PARTS] if abs(part) >= LEAST_PART]
        if abs(rest := driver.mean - sum(part for _, part in parts[: len(told)])) >= LEAST_PART:
            told.append(f"others {rest:+.2f}")
        lines.append(line.append(f"  by {', '.join(told)}", style=QUIET))
    return [*lines, Text("")] if lines else []


def _doubts(belief: Belief) -> list[Text]:
    """What of this is to be taken with care, and why."""
    about = [f"{one.signal.display.split(',')[0]}: {one.distrust}" for one in belief.signals.values() if one.distrust]
    if belief.unfit:
        about.insert(0, f"the population's numbers are not for this person: {belief.unfit}")
    return [Text(f"{line[0].upper()}{line[1:]}") for line in about] + ([Text("")] if about else [])


def _alerts(alerts: Sequence[AlertChange], clock: float) -> list[Text]:
    if not alerts:
        return [Text("no open alerts", style=QUIET)]
    lines = []
    for change in sorted(alerts, key=lambda change: PRIORITIES[change.priority]):
        line = Text.assemble((f"{MARKS[change.priority]} {change.priority}", f"bold {COLOURS[change.priority]}"))
        line.append(f"  {change.state} {age(clock - change.at)} ago  {change.reason}")
        if change.next_step:
            line.append(f"\n    → {change.next_step}", style=QUIET)
        lines.append(line)
    return lines
