"""Onset of illness on recordings: alerts of healthy people, illnesses put into healthy days, onsets that people reported.

python -m benchmarks.onset [DIRECTORY]     the data sets lie in DIRECTORY, in ``lifesnaps`` and ``welltory_covid``

Prints tables for docs/alerts.md and writes ``build/reports/onset.json``. Exit code 1: a budget was exceeded. A month is 30 days
with data of one person. LifeSnaps' people in the order of their ids: the 1st, 3rd, ... are those on whom the algorithm was
developed, the others are reported on. Nothing was chosen by looking at Welltory.
"""

import copy
import csv
import itertools
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from math import ceil, exp
from pathlib import Path
from statistics import median
from typing import Annotated, NamedTuple

import typer
from scipy.stats import beta

from benchmarks.report import Result, report
from stream_twin.alerts import nightsignal
from stream_twin.alerts.onset import MONTH, QUIET_DAYS, SIGNALS, Onset
from stream_twin.nights import EPOCH

SHARED = Path(__file__).parents[2] / "shared" / "data"
BUDGETS = (1.0, 2.0)
LIFESNAPS = {
    "resting_hr": "resting_heart_rate",
    "rmssd": "rmssd",
    "full_sleep_breathing_rate": "breathing_rate",
    "daily_temperature_variation": "skin_temperature_deviation",
    "minutesAsleep": "sleep",
    "steps": "steps",
}

Values = dict[str, float]
Days = list[tuple[int, Values]]
"""Day numbers in order, with the values of each."""


# What the recordings hold


def lifesnaps(path: Path) -> dict[str, Days]:
    people: dict[str, Days] = {}
    with (path / "daily_fitbit_sema_df_unprocessed.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            values = {signal: float(row[column]) for column, signal in LIFESNAPS.items() if row[column]}
            values = {signal: value for signal, value in values.items() if SIGNALS[signal].low <= value <= SIGNALS[signal].high}
            if values:
                people.setdefault(row["id"], []).append((number(date.fromisoformat(row["date"])), values))
    return {person: sorted(people[person], key=lambda day: day[0]) for person in sorted(people)}


def number(day: date) -> int:
    return (day - EPOCH).days


def american(text: str) -> date:
    month, day, year = (int(part) for part in text.split("/"))
    return date(year, month, day)


class Case(NamedTuple):
    """Who reported an onset. symptoms: its day."""

    person: str
    symptoms: int
    days: Days


def welltory(path: Path) -> dict[str, Days]:
    """Daily medians: resting pulse and steps of wearables, sleep, RMSSD of measurements by phone or chest strap."""
    found: dict[str, dict[int, dict[str, list[float]]]] = {}
    tables = {
        "wearables": ("day", {"resting_pulse": ("resting_heart_rate", 1.0), "steps_count": ("steps", 1.0)}),
        "hrv_measurements": ("measurement_datetime", {"rmssd": ("rmssd", 1.0)}),
        "sleep": ("day", {"sleep_duration": ("sleep", 1 / 60)}),
    }
    for table, (moment, columns) in tables.items():
        for row in rows(path / "data" / f"{table}.csv"):
            for column, (signal, factor) in columns.items():
                if row[column] and SIGNALS[signal].low <= float(row[column]) * factor <= SIGNALS[signal].high:
                    day = found.setdefault(row["user_code"], {}).setdefault(number(date.fromisoformat(row[moment][:10])), {})
                    day.setdefault(signal, []).append(float(row[column]) * factor)
    return {
        user: [(day, {signal: median(values) for signal, values in days[day].items()}) for day in sorted(days)]
        for user, days in found.items()
    }


def rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def cases(path: Path) -> list[Case]:
    """Onsets with enough before them: at least 14 days with a resting heart rate or an RMSSD before the day of the first
    symptom, and at least 2 on the 8 days up to and including it."""
    people = welltory(path)
    found = []
    for row in rows(path / "data" / "participants.csv"):
        if not row["symptoms_onset"]:
            continue
        symptoms = number(american(row["symptoms_onset"]))
        days = people.get(row["user_code"], [])
        heart = [day for day, values in days if values.keys() & {"resting_heart_rate", "rmssd"}]
        if sum(day < symptoms for day in heart) >= 14 and sum(symptoms - 7 <= day <= symptoms for day in heart) >= 2:
            found.append(Case(row["user_code"], symptoms, days))
    return found


# What the methods say


def onset_alerts(days: Days, budget: float) -> list[int]:
    onset = Onset(budget)
    return [day for day, values in days if onset.follow(day, values).alert]


def nightsignal_reds(days: Days) -> list[int]:
    nights = {EPOCH + timedelta(day): values["resting_heart_rate"] for day, values in days if "resting_heart_rate" in values}
    return [number(night.date) for night in nightsignal.live(nights) if night.level == 2]


def episodes(days: Iterable[int]) -> list[int]:
    """First days: what follows within the same time as onset keeps quiet is one."""
    found: list[int] = []
    for day in days:
        if not found or day - found[-1] >= QUIET_DAYS:
            found.append(day)
    return found


# Illnesses put into healthy days

SIZES = {
    "resting_heart_rate": 4.0,
    "rmssd": -0.2,
    "breathing_rate": 1.0,
    "skin_temperature_deviation": 0.5,
    "sleep": 30.0,
    "steps": -0.3,
}
"""Strength 1 at its height: added, of RMSSD to its logarithm; of steps a share. For sources see stream_twin/alerts/onset.py."""
KINDS = {
    "all signals": tuple(SIZES),
    "heart only": ("resting_heart_rate", "rmssd"),
    "resting heart rate only": ("resting_heart_rate",),
}
STRENGTHS = {0.5: "half", 1.0: "published", 2.0: "with fever"}
RISES = (1, 2, 4)
"""Days from the first shift to the first symptom."""


class Illness(NamedTuple):
    kind: str
    strength: float
    rise: int

    @property
    def window(self) -> int:
        """Days on which an alert is in time: from the first shift to the first symptom."""
        return self.rise + 1


def ill(days: Days, symptoms: int, illness: Illness) -> Days:
    """Growing evenly from the first shifted day to the day of the first symptom."""
    changed = []
    for day, values in days:
        share = min(max((day - symptoms + illness.rise + 1) / (illness.rise + 1), 0.0), 1.0) * illness.strength
        new = dict(values)
        for signal in KINDS[illness.kind] if share else ():
            if signal in values:
                size = SIZES[signal] * share
                if signal == "rmssd":
                    new[signal] = values[signal] * exp(size)
                elif signal == "steps":
                    new[signal] = values[signal] * max(1 + size, 0.05)
                else:
                    new[signal] = values[signal] + size
        changed.append((day, new))
    return changed


class Person:
    """A healthy person's days, with the state of each method before each of them, so that an illness need not begin at day 1."""

    def __init__(self, days: Days, budget: float) -> None:
        self.days = days
        onset = Onset(budget)
        self.states: list[Onset] = []
        for day, values in days:
            self.states.append(copy.deepcopy(onset))
            onset.follow(day, values)

    def symptoms(self, rise: int) -> list[int]:
        """Every fifth day from the 29th on with a resting heart rate on 10 of the 28 days before the first shift, and on two days
        from it to the first symptom."""
        heart = {day for day, values in self.days if "resting_heart_rate" in values}
        first, last = self.days[0][0], self.days[-1][0]
        return [
            day
            for day in range(first + 28, last + 1, 5)
            if len(heart & set(range(day - rise - 28, day - rise))) >= 10 and len(heart & set(range(day - rise, day + 1))) >= 2
        ]

    def onset(self, symptoms: int, illness: Illness) -> int | None:
        """Days from the first alert to the first symptom."""
        begin = next(i for i, (day, _) in enumerate(self.days) if day >= symptoms - illness.rise)
        onset = copy.deepcopy(self.states[begin])
        window = [day for day in self.days[begin:] if day[0] <= symptoms]
        alerts = (day for day, values in ill(window, symptoms, illness) if onset.follow(day, values).alert)
        return next((symptoms - day for day in alerts), None)

    def nightsignal(self, symptoms: int, illness: Illness) -> int | None:
        """The same of a red night that begins an episode."""
        known = [day for day in self.days if day[0] <= symptoms]
        begins = (day for day in episodes(nightsignal_reds(ill(known, symptoms, illness))) if day >= symptoms - illness.rise)
        return next((symptoms - day for day in begins), None)


class Found(NamedTuple):
    """leads: of each illness, by person; None: not found in time."""

    leads: dict[str, list[int | None]]

    @property
    def all(self) -> list[int | None]:
        return [lead for leads in self.leads.values() for lead in leads]

    @property
    def share(self) -> float:
        return sum(lead is not None for lead in self.all) / len(self.all)

    @property
    def lead(self) -> float | None:
        found = [lead for lead in self.all if lead is not None]
        return median(found) if found else None

    def interval(self, draws: int = 1000) -> tuple[float, float]:
        """95 % of the share, by drawing people, since one person's illnesses are alike."""
        chance = random.Random(6)
        people = [leads for leads in self.leads.values() if leads]
        shares = []
        for _ in range(draws):
            drawn = [lead for leads in chance.choices(people, k=len(people)) for lead in leads]
            shares.append(sum(lead is not None for lead in drawn) / len(drawn))
        shares.sort()
        return shares[ceil(0.025 * draws) - 1], shares[ceil(0.975 * draws) - 1]


# Tables


def months(people: Mapping[str, Days]) -> float:
    return sum(map(len, people.values())) / MONTH


def healthy(groups: Mapping[str, Mapping[str, Days]]) -> list[Result]:
    print("\n| people | method | alerts in a month | people without | most of one person, in his or her months |")
    print("|---|---|---|---|---|")
    results = []
    for group, people in groups.items():
        methods = {
            f"onset, budget {budget:g}": {who: onset_alerts(days, budget) for who, days in people.items()} for budget in BUDGETS
        }
        reds = {who: nightsignal_reds(days) for who, days in people.items()}
        methods["NightSignal, episodes of red"] = {who: episodes(days) for who, days in reds.items()}
        methods["NightSignal, red nights"] = reds
        for method, alerts in methods.items():
            counts = {who: len(days) for who, days in alerts.items()}
            most = max(counts, key=lambda who: counts[who])
            often = sum(counts.values()) / months(people)
            none = sum(count == 0 for count in counts.values())
            print(
                f"| {group}: {len(people)}, {months(people):.0f} months | {method} | {often:.2f} | {none} | "
                f"{counts[most]} in {len(people[most]) / MONTH:.1f} |"
            )
            budget = next((budget for budget in BUDGETS if method == f"onset, budget {budget:g}"), None)
            results.append(Result(f"{method}; {group}", "alerts in a month", [often], budget, at_most=True))
    return results


def injected(developed: Mapping[str, Days], people: Mapping[str, Days]) -> list[Result]:
    """Three ways of spending alerts: two budgets, and one that gives on those developed on as many alerts as NightSignal does."""
    as_many = as_nightsignal(developed)
    budgets = {f"onset, budget {budget:g}": budget for budget in BUDGETS}
    budgets[f"onset, as many as NightSignal (budget {as_many:g})"] = as_many
    ready = {method: {who: Person(days, budget) for who, days in people.items()} for method, budget in budgets.items()}
    rates = {method: rate(people, lambda days, budget=budget: onset_alerts(days, budget)) for method, budget in budgets.items()}
    rates["NightSignal"] = rate(people, red_episodes)
    ready["NightSignal"] = ready[f"onset, budget {BUDGETS[0]:g}"]
    print(
        "\n| illness | rise | "
        + " | ".join(f"{method}: {often:.2f} in a month" for method, often in rates.items())
        + " | at random |"
    )
    print("|---|---|" + "---|" * (len(rates) + 1))
    results = []
    for kind, (strength, name), rise in itertools.product(KINDS, STRENGTHS.items(), RISES):
        illness = Illness(kind, strength, rise)
        cells = []
        for method, persons in ready.items():
            judge = Person.nightsignal if method == "NightSignal" else Person.onset
            found = Found(
                {who: [judge(person, day, illness) for day in person.symptoms(rise)] for who, person in persons.items()}
            )
            low, high = found.interval()
            lead = "" if found.lead is None else f"; {found.lead:g}"
            cells.append(f"{found.share:.0%} ({low:.0%} to {high:.0%}{lead})")
            results.append(Result(f"{method}; {kind}, {name}, rise {rise}", "share found in time", [found.share]))
        chances = (at_random(often, illness.window) for often in rates.values())
        cells.append(" / ".join(f"{chance:.0%}" for chance in chances))
        print(f"| {kind}, {name} | {rise} | " + " | ".join(cells) + " |", flush=True)
    for rise in RISES:
        cases = [len(person.symptoms(rise)) for person in ready["NightSignal"].values()]
        print(f"\nrise {rise}: {sum(cases)} illnesses of {sum(map(bool, cases))} people")
    return results


def as_nightsignal(people: Mapping[str, Days]) -> float:
    """The largest budget, in steps of 0.05, with which there are not more alerts than NightSignal has."""
    most = rate(people, red_episodes)
    steps = (step / 20 for step in range(20, 0, -1))
    return next((budget for budget in steps if rate(people, lambda days: onset_alerts(days, budget)) <= most), 0.05)  # noqa: B023 called at once


def red_episodes(days: Days) -> list[int]:
    return episodes(nightsignal_reds(days))


def rate(people: Mapping[str, Days], alerts: Callable[[Days], Sequence[int]]) -> float:
    """Alerts in a month of one person."""
    return sum(len(alerts(days)) for days in people.values()) / months(people)


def at_random(rate: float, window: int) -> float:
    """Share of windows of so many days that have an alert, where ``rate`` alerts in a month fall anywhere."""
    return 1 - (1 - rate / MONTH) ** window


def reported(path: Path) -> list[Result]:
    found = cases(path)
    print(f"\n{len(found)} of Welltory's onsets have enough days before them.")
    print(
        "| method | alert 7 to 0 days before the first symptom | at random | up to 3 days after it | alerts in a month before |"
    )
    print("|---|---|---|---|---|")
    results = []
    methods = {f"onset, budget {budget:g}": [onset_alerts(case.days, budget) for case in found] for budget in BUDGETS}
    methods["NightSignal"] = [red_episodes(case.days) for case in found]
    spent = sum(day < case.symptoms - 7 for case in found for day, _ in case.days) / MONTH
    for method, alerts in methods.items():
        before = [[case.symptoms - day for day in days] for case, days in zip(found, alerts, strict=True)]
        often = sum(days > 7 for ahead in before for days in ahead) / spent
        hits, later = (sum(any(-after <= days <= 7 for days in ahead) for ahead in before) for after in (0, 3))
        cells = [f"{count} of {len(found)} ({share_interval(count, len(found))})" for count in (hits, later)]
        print(f"| {method} | {cells[0]} | {at_random(often, 8):.0%} | {cells[1]} | {often:.2f} |")
        results.append(Result(f"{method}; Welltory", "onsets with an alert", [hits / len(found)]))
    return results


def share_interval(hits: int, of: int) -> str:
    low, high = clopper_pearson(hits, of)
    return f"{low:.0%} to {high:.0%}"


def clopper_pearson(hits: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share."""
    outside = (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(outside, hits, of - hits + 1))
    high = 1.0 if hits == of else float(beta.ppf(1 - outside, hits + 1, of - hits))
    return low, high


def main(directory: Annotated[Path, typer.Argument(exists=True, file_okay=False)] = SHARED) -> None:
    everybody = lifesnaps(directory / "lifesnaps")
    known: Sequence[str] = list(everybody)
    groups = {
        "all": everybody,
        "developed on": {who: everybody[who] for who in known[::2]},
        "reported on": {who: everybody[who] for who in known[1::2]},
    }
    results = healthy(groups) + injected(groups["developed on"], groups["reported on"]) + reported(directory / "welltory_covid")
    sys.exit(0 if report("onset", results) else 1)


if __name__ == "__main__":
    typer.run(main)
