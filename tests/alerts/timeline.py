"""Runs a timeline: what happens to one patient when, which alerts come of it, and nothing else.

A line is one of (times are ``02:10``, ``02:10:30`` or ``day 2 02:10``; ``#`` starts a comment):

    age 71 | zone Europe/Berlin | watched for 3 days | limits spo2 low 92 high 100 | rule limits hold_s 60
    scale 2 | pregnant | spinal-cord injury
    device clip streaming every 1 min [from TIME] [to TIME]
    at TIME clip says spo2 86, heart_rate 70        (a device; `hand` is a measurement by hand, without a device)
    from TIME to TIME every 1 min clip says spo2 96 [and 97]    (takes turns)
    from TIME to TIME every 1 min clip says spo2 nothing        (it speaks, but has no value)
    at TIME late clip says spo2 96 as of TIME       (measured then, or a correction of what was measured then)
    at TIME the twin believes spo2 level 95 | spo2 usual 97 | spo2 deviation -4 | spo2 unsure 1.5 | spo2 nothing special
    at TIME the twin expects glucose to fall 1.5 per min give or take 12     (or rise; from its last value on)
    at TIME risk home 40 % [because lactate 1.2]
    at TIME the patient is paused [until TIME] | enrolled | discharged | died | without consent
    at TIME the patient breathes oxygen | air
    at TIME nurse-1 finds alert | confusion | voice | pain | unresponsive      (consciousness)
    nights from day 3: 66 - 64, after 60 61 60      (resting heart rates, known at 07:00 local time; `-`: not recorded)
    at TIME nurse-1 acknowledges limits spo2 [until TIME] [as of TIME] [: rejected REASON]    (also snoozes, resolves, comments)
    from TIME to TIME nobody runs the service       (what comes meanwhile is read afterwards)
    from TIME to TIME the lane stands still         (it ticks, but complete_to does not move)
    between TIME and TIME raise limits spo2 medium [to nurse and doctor] [because TEXT]
                                                    (TEXT: words of the reason, `...` for a gap)
    nothing else until TIME

The patient is asked as a lane asks: with every arrival, and when the book wants to be woken. Who is ill has a NEWS2 as well, and
most timelines are about something else: the rule ``news2`` is asked only where the file names it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from stream_twin import events
from stream_twin.alerts.desk import AlertBook, Desk, Rejection
from stream_twin.alerts.nightsignal import live
from stream_twin.alerts.service import ServiceState, watch
from stream_twin.events import AlertChange, AlertCommand, AssignedDevice, DeviceKind, Finding, Limits, Oxygen, Profile, Risk
from stream_twin.signals import load
from stream_twin.twin import belief as twin
from stream_twin.twin.belief import Belief, DeviceBelief, NightBelief, SignalBelief

MIDNIGHT = 1_772_150_400.0
"""2026-02-27 00:00 UTC."""
CATALOGUE = load()
UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0, "days": 86400.0, "day": 86400.0}
TIME = r"(?:day \d+ )?\d\d:\d\d(?::\d\d)?"
STATES = {
    "raise": "raised",
    "escalate": "escalated",
    "repeat": "repeated",
    "acknowledge": "acknowledged",
    "snooze": "snoozed",
    "comment": "commented",
    "latch": "latched",
    "resolve": "resolved",
    "expire": "expired",
}
CATCHING_UP_S = 5.0
LAG_S = 1.0
"""How far ``complete_to`` is behind the clock in ordinary times."""


def seconds(text: str) -> float:
    day, _, clock = text.removeprefix("day ").rpartition(" ")
    parts = [float(part) for part in clock.split(":")]
    return MIDNIGHT + (int(day or 1) - 1) * 86400 + sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))


def length(text: str) -> float:
    number, unit = text.split()
    return float(number) * UNITS_S[unit]


@dataclass
class Expected:
    """One change that has to come."""

    line: str
    earliest: float
    latest: float
    state: str
    rule: str
    subject: str
    priority: str
    told: list[str]
    words: list[str]

    def fits(self, change: AlertChange, slack_s: float) -> bool:
        named = (change.state, change.rule, change.subject) == (self.state, self.rule, self.subject)
        at = 0
        for words in self.words:
            at = change.reason.find(words, at)
            if at < 0:
                return False
        if self.told and self.told != change.told:
            return False
        return named and self.earliest - slack_s <= change.at <= self.latest + slack_s and self.priority in ("", change.priority)


@dataclass
class Timeline:
    """A parsed file: what happens (by time, in the order written) and what is expected."""

    events: list[tuple[float, Callable[["Ward"], bool]]] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)
    down: list[tuple[float, float]] = field(default_factory=list)
    stuck: list[tuple[float, float]] = field(default_factory=list)
    profile: Profile = field(default_factory=lambda: Profile(patient_id="p-1", valid_from=0.0, age_years=60))
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    watched_s: float = 3 * 86400.0
    end: float = 0.0
    readings: list[tuple[float, "Reading"]] = field(default_factory=list)
    devices: list[AssignedDevice] = field(default_factory=list)
    commands: list[tuple[float, re.Match[str]]] = field(default_factory=list)
    profiles: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    happenings: list[tuple[float, Oxygen | Finding]] = field(default_factory=list)
    inside: bool = False
    """It says what cannot be sent: what the twin believes, how the lane does."""


class Ward:
    """One patient and the lane around them."""

    def __init__(self, timeline: Timeline, *, every_tick: bool = False, forgetful: bool = False) -> None:
        self.timeline, self.every_tick, self.forgetful = timeline, every_tick, forgetful
        self.desk = Desk(timeline.settings)
        self.book, self.service = AlertBook(), ServiceState()
        first = min(at for at, _ in timeline.events if isfinite(at))
        self.clock = self.complete_to = first
        self.belief = Belief("p-1", first, first, first, timeline.profile, watched_since=first - timeline.watched_s)
        self.offset, self.late, self.changes = 0, False, list[AlertChange]()
        self.samples: dict[str, list[Reading]] = {}
        self.belief.samples_since = self.samples_since

    def run(self) -> list[AlertChange]:
        waiting = sorted(self.timeline.events, key=lambda event: event[0])
        standing_still = [(start, end + CATCHING_UP_S) for start, end in self.timeline.stuck + self.timeline.down]
        while self.clock < self.timeline.end:
            if not any(start < self.clock < end for start, end in self.timeline.down):
                stops = [start for start, end in standing_still if start <= self.clock < end]
                self.complete_to = max(self.complete_to, min([self.clock - LAG_S, *stops]))
                self.offset += 1
                self.changes += watch(self.clock, self.complete_to, self.service, lane=0, offset=self.offset)
                woken = self.book.wake_at is not None and self.book.wake_at <= self.complete_to
                reminded = self.book.clock_at is not None and self.book.clock_at <= self.clock
                if woken or reminded or self.every_tick:
                    self.judge()
                while (
                    waiting
                    and waiting[0][0] <= self.clock
                    and not any(start <= self.clock < end for start, end in self.timeline.stuck)
                ):
                    self.offset += 1
                    if waiting.pop(0)[1](self):
                        self.judge()
            self.clock += 1
        return self.changes

    def judge(self) -> None:
        belief = self.belief
        belief.clock, belief.complete_to = self.clock, self.complete_to
        belief.at = max([self.clock, *(signal.last_at for signal in belief.signals.values())])
        if self.forgetful:
            self.book = msgspec.msgpack.decode(msgspec.msgpack.encode(self.book), type=AlertBook)
        self.changes += self.desk.judge(self.book, belief, self.offset, late=self.late)
        self.late = False

    def samples_since(self, name: str, since: float) -> list[float]:
        device = self.belief.signals[name].device
        found = [reading.value for reading in self.samples[name] if reading.device == device and reading.at >= since]
        return [value for value in found if value is not None]

    def command(self, match: re.Match[str]) -> bool:
        until = seconds(match["until"]) if match["until"] else None
        command = AlertCommand(
            id="c",
            patient_id="p-1",
            alert_id=next((a.alert_id for r, s, a in self.book.open() if [r, s] == [match["rule"], match["subject"]]), "none"),
            action=match["action"],
            by=match["by"],
            at=seconds(match["sent"] or match["at"]),
            until=until,
            comment="seen",
        )
        result = self.desk.command(self.book, command, self.clock, self.offset)
        found = result.reason if isinstance(result, Rejection) else None
        assert found == match["rejected"], f"{match[0]}: {result}"
        self.changes += [] if isinstance(result, Rejection) else result
        return False


@dataclass(frozen=True)
class Reading:
    """One value of one device, and what it makes of the belief where the twin has no opinion of its own."""

    device: str
    signal: str
    value: float | None
    at: float
    late: bool = False

    def arrive(self, ward: Ward) -> bool:
        name = None if self.device == "hand" else self.device
        before = ward.belief.signals.get(self.signal)
        ward.late = self.late and before is not None and self.at <= before.last_at
        if self.value is not None:
            self._measure(ward, name, self.value)
        if name:
            device = ward.belief.devices[name]
            ward.belief.devices[name] = replace(device, last_at=max(self.at, device.last_at))
        return True

    def _measure(self, ward: Ward, name: str | None, value: float) -> None:
        at, signals = self.at, ward.belief.signals
        ward.samples.setdefault(self.signal, []).append(self)
        before = signals.get(self.signal)
        if before is None:
            known = CATALOGUE[self.signal]
            signals[self.signal] = SignalBelief(
                known, known.model, value, value, value, value, 0.0, 0.3, 0.0, value, at, 0.0, 1.0, device=name
            )
        elif at >= before.last_at:
            same = before.last_value == value
            repeats, since = (before.repeats + 1, before.repeats_since if before.repeats else before.last_at) if same else (0, at)
            signals[self.signal] = replace(
                before,
                level=value,
                last_value=value,
                last_at=at,
                repeats=repeats,
                repeats_since=since,
                device=name,
                sparse=min(1.0, (at - before.last_at) / 3600),
            )


def read(path: Path) -> Timeline:
    timeline = Timeline()
    if "news2" not in path.read_text():
        timeline.settings["news2"] = {"enabled": False}
    for line in path.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        for pattern, take in GRAMMAR:
            if match := re.fullmatch(pattern, text):
                take(timeline, match)
                break
        else:
            raise ValueError(f"{path.name}: nobody understands {text!r}")
    if not timeline.end:
        raise ValueError(f"{path.name}: the last line must be `nothing else until TIME`")
    return timeline


def check(timeline: Timeline, changes: list[AlertChange], slack_s: float = 0.0) -> None:
    """Every expected change came, up to ``slack_s`` from its time, and nothing else did."""
    left = list(timeline.expected)
    for change in changes:
        told = f"{clock(change.at)} {change.state} {change.rule} {change.subject} {change.priority}: {change.reason}"
        fitting = next((expected for expected in left if expected.fits(change, slack_s)), None)
        assert fitting is not None, f"not expected: {told}\nstill expected: " + "\n".join(e.line for e in left)
        left.remove(fitting)
    assert not left, "never came: " + "; ".join(expected.line for expected in left)


def clock(at: float) -> str:
    days, rest = divmod(at - MIDNIGHT, 86400)
    text = f"{int(rest // 3600):02}:{int(rest % 3600 // 60):02}:{int(rest % 60):02}"
    return f"day {int(days) + 1} {text}" if days else text


def _profile(timeline: Timeline, **changed: Any) -> None:
    timeline.profile = msgspec.structs.replace(timeline.profile, **changed)


def _limits(timeline: Timeline, match: re.Match[str]) -> None:
    low, high = match["low"], match["high"]
    limits = Limits(low=float(low) if low else None, high=float(high) if high else None)
    _profile(timeline, limits={**timeline.profile.limits, match["signal"]: limits})


def _rule(timeline: Timeline, match: re.Match[str]) -> None:
    timeline.settings.setdefault(match["rule"], {})[match["parameter"]] = msgspec.json.decode(match["value"])


def _device(timeline: Timeline, match: re.Match[str]) -> None:
    every, start, end = match["every"], match["start"], match["end"]

    def assign(ward: Ward) -> bool:
        ward.belief.devices[match["name"]] = DeviceBelief(
            match["name"],
            msgspec.convert(match["kind"], DeviceKind),
            last_at=0.0,
            every_s=length(every) if every else None,
            start=seconds(start) if start else ward.clock,
            end=seconds(end) if end else None,
        )
        return True

    timeline.events.append((float("-inf"), assign))
    timeline.devices.append(
        AssignedDevice(
            device_id=match["name"],
            kind=msgspec.convert(match["kind"], DeviceKind),
            start=seconds(start) if start else 0.0,
            end=seconds(end) if end else None,
            every_s=length(every) if every else None,
        )
    )


def _number(text: str) -> float | None:
    return None if text == "nothing" else float(text)


def _says(timeline: Timeline, match: re.Match[str]) -> None:
    """Values of one line come in one record, so the patient is asked once."""
    measured, readings = seconds(match["sent"] or match["at"]), []
    for value in match["values"].split(", "):
        signal, number = value.split()
        readings.append(Reading(match["device"], signal, float(number), measured, late=bool(match["late"])))
    timeline.events.append((seconds(match["at"]), lambda ward: all(reading.arrive(ward) for reading in readings)))
    timeline.readings += [(seconds(match["at"]), reading) for reading in readings]


def _repeats(timeline: Timeline, match: re.Match[str]) -> None:
    turns, at, count = [_number(value) for value in match["values"].split(" and ")], seconds(match["at"]), 0
    while at <= seconds(match["end"]):
        reading = Reading(match["device"], match["signal"], turns[count % len(turns)], at)
        timeline.events.append((at, reading.arrive))
        timeline.readings.append((at, reading))
        at, count = at + length(match["every"]), count + 1


def _believes(timeline: Timeline, match: re.Match[str]) -> None:
    timeline.inside = True
    name = {"level": "level", "usual": "baseline", "deviation": "deviation", "unsure": "deviation_sd"}[match["what"]]

    def believe(ward: Ward) -> bool:
        ward.belief.signals[match["signal"]] = replace(ward.belief.signals[match["signal"]], **{name: float(match["value"])})
        return True

    timeline.events.append((seconds(match["at"]), believe))


def _expects(timeline: Timeline, match: re.Match[str]) -> None:
    timeline.inside = True
    slope = float(match["slope"]) / 60 * (1 if match["way"] == "rise" else -1)
    sd = float(match["sd"])

    def expect(ward: Ward) -> bool:
        def reads(name: str, at: Sequence[float]) -> list[twin.Expected]:
            known = ward.belief.signals[name]
            return [twin.Expected(known.signal, known.last_value + slope * (then - known.last_at), sd) for then in at]

        ward.belief.expects = reads
        return False

    timeline.events.append((seconds(match["at"]), expect))


def _risk(timeline: Timeline, match: re.Match[str]) -> None:
    timeline.inside = True
    reasons = {match["feature"]: float(match["share"])} if match["feature"] else {}
    risk = Risk(
        probability=float(match["percent"]) / 100,
        cohort=match["cohort"],
        model_version=1,
        at=seconds(match["at"]),
        reasons=reasons,
    )

    def take(ward: Ward) -> bool:
        ward.belief.risk = risk
        return True

    timeline.events.append((risk.at, take))


def _becomes(timeline: Timeline, match: re.Match[str]) -> None:
    changed: dict[str, Any] = {"state": match["state"], "paused_until": seconds(match["until"]) if match["until"] else None}
    if match["state"] == "without consent":
        changed = {"consent": False}

    def become(ward: Ward) -> bool:
        ward.belief.profile = msgspec.structs.replace(ward.belief.profile, **changed)
        return True

    timeline.events.append((seconds(match["at"]), become))
    timeline.profiles.append((seconds(match["at"]), changed))


def _breathes(timeline: Timeline, match: re.Match[str]) -> None:
    at, flow = seconds(match["at"]), 2.0 if match["what"] == "oxygen" else 0.0
    timeline.happenings.append((at, Oxygen(id=f"oxygen-{at}", patient_id="p-1", at=at, flow_l_per_min=flow)))

    def breathe(ward: Ward) -> bool:
        ward.belief.oxygen = match["what"] == "oxygen", seconds(match["at"])
        return True

    timeline.events.append((seconds(match["at"]), breathe))


def _finds(timeline: Timeline, match: re.Match[str]) -> None:
    at, answer = seconds(match["at"]), match["what"]
    finding = Finding(
        id=f"finding-{at}", patient_id="p-1", at=at, code="consciousness", code_system=events.CATALOGUE, value=answer
    )
    timeline.happenings.append((at, finding))

    def find(ward: Ward) -> bool:
        ward.belief.consciousness = match["what"], seconds(match["at"])
        return True

    timeline.events.append((seconds(match["at"]), find))


def _nights(timeline: Timeline, match: re.Match[str]) -> None:
    """As the lane does it: each morning the level of the night, from the nights up to it."""
    timeline.inside = True
    zone, first = ZoneInfo(timeline.profile.time_zone or "UTC"), int(match["day"])
    recorded: dict[date, float] = {}
    before, rates = (match["before"] or "").split(), match["rates"].split()
    for number, rate in enumerate([*before, *rates], first - 1 - len(before)):
        morning = datetime.fromtimestamp(MIDNIGHT, UTC).replace(hour=7, tzinfo=zone) + timedelta(days=number)
        if rate == "-":
            continue
        recorded[morning.date()] = float(rate)
        night = live(recorded)[-1]
        told = NightBelief(night.date, morning.timestamp(), night.rate, night.baseline, night.level, len(recorded))

        def tell(ward: Ward, told: NightBelief = told) -> bool:
            ward.belief.night = told
            return True

        if number >= first - 1:
            timeline.events.append((told.at, tell))


def _commands(timeline: Timeline, match: re.Match[str]) -> None:
    timeline.events.append((seconds(match["at"]), lambda ward: ward.command(match)))
    timeline.commands.append((seconds(match["at"]), match))


def _expect(timeline: Timeline, match: re.Match[str]) -> None:
    timeline.expected.append(
        Expected(
            line=match[0],
            earliest=seconds(match["at"]),
            latest=seconds(match["end"]),
            state=STATES[match["state"]],
            rule=match["rule"],
            subject=match["subject"],
            priority=match["priority"] or "",
            told=match["told"].split(" and ") if match["told"] else [],
            words=(match["words"] or "").split(" ... "),
        )
    )


def _during(match: re.Match[str]) -> tuple[float, float]:
    return seconds(match["at"]), seconds(match["end"])


SPAN = rf"from (?P<at>{TIME}) to (?P<end>{TIME})"
GRAMMAR: list[tuple[str, Callable[[Timeline, re.Match[str]], None]]] = [
    (r"age (?P<age>\d+)", lambda timeline, match: _profile(timeline, age_years=int(match["age"]))),
    (r"scale (?P<scale>[12])", lambda timeline, match: _profile(timeline, spo2_scale=int(match["scale"]))),
    (r"pregnant", lambda timeline, match: _profile(timeline, pregnant=True)),
    (r"spinal-cord injury", lambda timeline, match: _profile(timeline, spinal_cord_injury=True)),
    (r"zone (?P<zone>\S+)", lambda timeline, match: _profile(timeline, time_zone=match["zone"])),
    (r"watched for (?P<span>.+)", lambda timeline, match: setattr(timeline, "watched_s", length(match["span"]))),
    (r"limits (?P<signal>\w+)(?: low (?P<low>\S+))?(?: high (?P<high>\S+))?", _limits),
    (r"rule (?P<rule>\w+) (?P<parameter>\w+) (?P<value>\S+)", _rule),
    (
        r"device (?P<name>\S+) (?P<kind>\w+)(?: every (?P<every>\S+ \w+))?"
        rf"(?: from (?P<start>{TIME}))?(?: to (?P<end>{TIME}))?",
        _device,
    ),
    (rf"at (?P<at>{TIME}) (?P<late>late )?(?P<device>\S+) says (?P<values>.+?)(?: as of (?P<sent>{TIME}))?", _says),
    (rf"{SPAN} every (?P<every>\S+ \w+) (?P<device>\S+) says (?P<signal>\w+) (?P<values>.+)", _repeats),
    (
        rf"at (?P<at>{TIME}) the twin expects (?P<signal>\w+) to (?P<way>rise|fall) (?P<slope>\S+) per min"
        r" give or take (?P<sd>\S+)",
        _expects,
    ),
    (
        rf"at (?P<at>{TIME}) the twin believes (?P<signal>\w+) (?P<what>level|usual|deviation|unsure) (?P<value>\S+)",
        _believes,
    ),
    (
        rf"at (?P<at>{TIME}) risk (?P<cohort>\w+) (?P<percent>\S+) %(?: because (?P<feature>\w+) (?P<share>\S+))?",
        _risk,
    ),
    (rf"at (?P<at>{TIME}) the patient breathes (?P<what>oxygen|air)", _breathes),
    (rf"at (?P<at>{TIME}) \S+ finds (?P<what>alert|confusion|voice|pain|unresponsive)", _finds),
    (r"nights from day (?P<day>\d+): (?P<rates>.+?)(?:, after (?P<before>.+))?", _nights),
    (
        rf"at (?P<at>{TIME}) the patient is (?P<state>paused|enrolled|discharged|died|without consent)"
        rf"(?: until (?P<until>{TIME}))?",
        _becomes,
    ),
    (
        rf"at (?P<at>{TIME}) (?P<by>\S+) (?P<action>acknowledge|snooze|resolve|comment)s (?P<rule>\w+) (?P<subject>\S+?)"
        rf"(?: until (?P<until>{TIME}))?(?: as of (?P<sent>{TIME}))?(?:: rejected (?P<rejected>\w+))?",
        _commands,
    ),
    (rf"{SPAN} nobody runs the service", lambda timeline, match: timeline.down.append(_during(match))),
    (rf"{SPAN} the lane stands still", lambda timeline, match: timeline.stuck.append(_during(match))),
    (
        rf"between (?P<at>{TIME}) and (?P<end>{TIME}) (?P<state>{'|'.join(STATES)})"
        r" (?P<rule>\w+) (?P<subject>\S+)(?: (?P<priority>high|medium|low))?(?: to (?P<told>.+?))?(?: because (?P<words>.+))?",
        _expect,
    ),
    (rf"nothing else until (?P<end>{TIME})", lambda timeline, match: setattr(timeline, "end", seconds(match["end"]))),
]
