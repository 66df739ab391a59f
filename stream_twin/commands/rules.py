"""``stream-twin rules``: what alert rules there are, whether a file of their parameters is right, and a rule over a file."""

import csv
import sys
from contextlib import nullcontext
from datetime import date
from inspect import getdoc
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
import typer
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from stream_twin.alerts import configuration, nightsignal
from stream_twin.alerts.handling import Case
from stream_twin.alerts.rule import Rule
from stream_twin.alerts.rules import discover
from stream_twin.alerts.wording import duration
from stream_twin.events import RuleConfiguration
from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings

TOPIC = "rule.configurations"
rules = typer.Typer(
    no_args_is_help=True, help="Alert rules: list, explain, test and apply a file of parameters, run one over a file."
)


class RulesError(Exception):
    """What was asked for cannot be done; the message says why."""

    exit_code = 2


@rules.command("list")
def list_() -> None:
    """All rules with their priorities."""
    table = Table("rule", "version", "kind", "priority", "when")
    for rule in discover():
        for number, case in enumerate(rule.priorities):
            first = (rule.name, str(rule.version), rule.kind) if number == 0 else ("", "", "")
            table.add_row(*first, case[0], case[1])
    Console().print(table)


@rules.command()
def explain(rule: Annotated[str, typer.Argument(help="Its name, as `rules list` says.")]) -> None:
    """What a rule judges, whom it tells, and every parameter with its default."""
    known = {one.name: one for one in discover()}
    if rule not in known:
        raise RulesError(f"{rule}: there is no such rule; there are {', '.join(known)}")
    typer.echo(_explained(known[rule]))


def _explained(rule: Rule[Any]) -> str:
    handled = rule.handled(rule.defaults)
    lines = [f"{rule.name}, {rule.kind}, version {rule.version}", "", getdoc(type(rule)) or "", "", "Priorities", ""]
    for case in rule.priorities:
        handling = handled[case[0]]
        lines.append(f"  {case[0]}: {case[1]}")
        if isinstance(case, Case):
            lines.append(f"      if nobody responds: {case.harm}; it comes {case.onset}")
        further = ""
        if handling.escalate_s is not None and len(handling.tell) > 1:
            further = f"; while nobody answers, every {duration(handling.escalate_s)} one more: {', '.join(handling.tell[1:])}"
        lines.append(f"      told: {handling.tell[0]}{further}; longest snooze {duration(handling.longest_snooze_s)}")
    lines += ["", "Parameters", ""]
    hints = get_type_hints(type(rule.defaults), include_extras=True)
    for name, default in msgspec.to_builtins(rule.defaults).items():
        meta = next(part for part in hints[name].__metadata__ if isinstance(part, msgspec.Meta))
        text = msgspec.json.encode(default).decode().replace(",", ", ").replace(":", ": ")
        lines += [f"  {name} = {text}", f"      {meta.description}"]
    lines += ["", f"To change one: [rules.{rule.name}] in a file that `stream-twin rules test FILE` finds right."]
    return "\n".join(lines)


@rules.command()
def test(
    file: Annotated[Path, typer.Argument(help="TOML: [rules.RULE], [populations.POPULATION.RULE], [patients.ID.RULE].")],
) -> None:
    """Check a file of parameters; says for each mistake the setting, its value and the way out."""
    given = configuration.read(file)
    parts = [
        f"{len(given.rules)} rules for everybody",
        f"{len(given.populations)} populations",
        f"{len(given.patients)} patients",
    ]
    typer.echo(f"{file} is right: version {given.version}; {', '.join(parts)}")


@rules.command()
@from_settings(*BROKER)
def apply(
    settings: Settings,
    file: Annotated[Path, typer.Argument(help="As for `rules test`. It replaces all parameters that are in force.")],
    by: Annotated[str | None, typer.Option(help="Who changes them; else the file's `by`.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why; else the file's `reason`.")] = None,
) -> None:
    """Check a file of parameters and put it in force in all lanes, without a restart, under the next version."""
    given = configuration.read(file)
    newest, highest = _in_force(settings)
    version = max(given.version, highest + 1)
    new = replace(given, version=version, by=by or given.by, reason=reason or given.reason)
    if (
        newest is not None
        and newest.version == highest
        and replace(new, version=0, by=None, reason=None) == replace(newest, version=0, by=None, reason=None)
    ):
        typer.echo(f"version {newest.version} says the same: nothing to do")
        return
    _send(settings, new)
    typer.echo(
        f"version {version} is in force once the lanes have read it, instead of {newest.version if newest else 'settings'}"
    )


@rules.command()
@from_settings(*BROKER)
def show(settings: Settings) -> None:
    """The parameters that were put in force last, as JSON, which `rules apply` takes as well."""
    newest, _ = _in_force(settings)
    if newest is None:
        typer.echo("nothing was put in force: the rules go by the worker's settings")
        return
    typer.echo(msgspec.json.format(msgspec.json.encode(newest)).decode())


def _in_force(settings: Settings) -> tuple[RuleConfiguration | None, int]:
    """The newest that this version finds right, as lanes do; and the highest version of all."""
    from stream_twin import app
    from stream_twin.kafka import reader

    newest: RuleConfiguration | None = None
    highest = 0
    for record in reader.read(app.broker(settings), settings.prefix + TOPIC):
        try:
            found = msgspec.json.decode(record.value or b"", type=RuleConfiguration)
            highest = max(highest, found.version)
            configuration.check(found)
        except (msgspec.DecodeError, configuration.ConfigurationError):
            continue  # ended as a dead letter
        if newest is None or found.version > newest.version:
            newest = found
    return newest, highest


def _send(settings: Settings, new: RuleConfiguration) -> None:
    from stream_twin import app
    from stream_twin.clock import wall
    from stream_twin.datasets.recording import Sent
    from stream_twin.kafka.player import Pacing, Player

    record = Sent(wall(), TOPIC, new.name.encode(), msgspec.json.encode(new))
    Player(app.broker(settings), settings.prefix, Pacing(ticks=False)).play([record])


@rules.command()
def run(
    rule: Annotated[Literal["nightsignal"], typer.Argument(help="Which rule.")],
    table: Annotated[Path, typer.Option("--csv", exists=True, dir_okay=False, help="Columns date,rhr: one row a night.")],
    out: Annotated[Path | None, typer.Option(help="File to write date,level to; without it to the terminal.")] = None,
) -> None:
    """Run a rule with hindsight over a file: levels 0 (green), 1 (yellow), 2 (red) of each recorded and filled night."""
    judged = nightsignal.retrospective(_nights(table))
    with nullcontext(sys.stdout) if out is None else out.open("w", newline="") as file:
        write = csv.writer(file, lineterminator="\n").writerow
        write(["date", "level"])
        for night in judged:
            write([night.date.isoformat(), night.level])
    if out is not None:
        filled = sum(night.filled for night in judged)
        typer.echo(f"{out}: {len(judged)} nights, {filled} of them filled, {sum(night.level == 2 for night in judged)} red")


def _nights(path: Path) -> dict[date, float]:
    """Nights of a file in any order; a row without a rate is a night that was not recorded."""
    nights: dict[date, float] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"date", "rhr"} <= set(reader.fieldnames or ()):
            raise RulesError(f"{path}: the columns are {', '.join(reader.fieldnames or ())}: date and rhr are wanted")
        for row in reader:
            place = f"{path} line {reader.line_num}"
            try:
                night = date.fromisoformat((row["date"] or "").strip())
            except ValueError:
                raise RulesError(f"{place}: date {row['date']!r} is none: write it as 2026-01-31") from None
            text = (row["rhr"] or "").strip()
            if not text:
                continue
            if night in nights:
                raise RulesError(f"{place}: the night of {night} is there twice: leave one row a night")
            nights[night] = _rate(text, place)
    return nights


def _rate(text: str, place: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not isfinite(rate) or rate < 0:
        raise RulesError(f"{place}: rhr {text!r} is no heart rate: give beats per minute, or nothing for a missing night")
    return rate


def register(app: typer.Typer) -> None:
    app.add_typer(rules, name="rules")
