"""Parameters of rules for everybody, per population and per patient: read, checked, and as desks. Pure but for :func:`read`.

A file is TOML::

    [rules.limits]                       # for everybody
    hold_s = 120

    [populations.ward.news2]             # for who is of this population
    hold_s = 60

    [patients."p-17".limits]             # for one patient
    hold_s = 300

or the same as JSON, in a file whose name ends so.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

from stream_twin.alerts.desk import Desk
from stream_twin.alerts.rule import Rule
from stream_twin.alerts.rules import discover
from stream_twin.events import Profile, RuleConfiguration, RuleSettings

POPULATIONS: tuple[str, ...] = get_args(get_args(get_type_hints(Profile)["population"])[0])
SECTIONS = ("name", "version", "by", "reason", "rules", "populations", "patients")


class ConfigurationError(ValueError):
    """What is wrong with a configuration: a line for each setting, with its value and the way out."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def read(path: Path) -> RuleConfiguration:
    """A configuration from a file, checked.

    Raises:
        ConfigurationError: it cannot be read, or something in it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
        given = msgspec.json.decode(text, type=dict[str, Any]) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise ConfigurationError([f"{path}: {error}"]) from None
    wrong = [
        f"{name} = {value!r}: there is no such section{_meant(name, SECTIONS)}"
        for name, value in given.items()
        if name not in SECTIONS
    ]
    if wrong:
        raise ConfigurationError(wrong)
    try:
        configuration = msgspec.convert({"version": 0, **given}, RuleConfiguration)
        configuration = msgspec.json.decode(msgspec.json.encode(configuration), type=RuleConfiguration)  # as lanes will read it
    except msgspec.ValidationError as error:
        what, _, where = str(error).rstrip("`").partition(" - at `$.")
        place = where.replace("[...]", ".*")
        way_out = "write [rules.RULE], [populations.POPULATION.RULE] or [patients.PATIENT.RULE], and below it NAME = VALUE"
        raise ConfigurationError([f"{place}: {what[:1].lower()}{what[1:]}: {way_out}"]) from None
    check(configuration)
    return configuration


def check(configuration: RuleConfiguration) -> None:
    """Raises:
    ConfigurationError: something in it is wrong.
    """
    try:
        msgspec.msgpack.encode(configuration)
    except OverflowError:
        raise ConfigurationError(["rules: a number without a fraction has more than 64 bits: give a smaller one"]) from None
    if wrong := _wrong(configuration):
        raise ConfigurationError([problem for _, problem in wrong])


def usable(configuration: RuleConfiguration) -> tuple[RuleConfiguration, list[str]]:
    """What this version understands of a configuration that was found right by another one, and what is wrong with the rest."""
    problems = list[str]()
    while wrong := _wrong(configuration):
        left = msgspec.to_builtins(configuration)
        for (*path, last), problem in wrong:
            problems.append(problem)
            table = left
            for name in path:
                table = table.get(name, {})
            table.pop(last, None)
        configuration = msgspec.convert(left, RuleConfiguration)
    return configuration, problems


Place = tuple[str, ...]
"""Where something is in a configuration: section, perhaps population or patient, rule, parameter."""


def _wrong(configuration: RuleConfiguration) -> list[tuple[Place, str]]:
    """Each mistake, with what has to go for it to be gone."""
    known = {rule.name: rule for rule in discover()}
    problems: list[tuple[Place, str]] = [
        (("populations", name), f"populations.{name}: there is no such population{_meant(name, POPULATIONS)}")
        for name in configuration.populations
        if name not in POPULATIONS
    ]
    broken: set[Place] = set()
    for section, tables in _sections(configuration):
        for name, given in tables.items():
            place = (*section, name)
            if name in known:
                found = [((*place, parameter), problem) for parameter, problem in _problems(known[name], given, ".".join(place))]
            else:
                found = [(place, f"{'.'.join(place)}: there is no such rule{_meant(name, known)}")]
            if found:
                problems += found
                broken.add((name,))
    for section, settings in _together(configuration):  # what is right alone may be wrong together
        for name, given in settings.items():
            place = (*section, name)
            if (name,) not in broken and place not in broken:
                try:
                    known[name].handled(known[name].configure(given))
                except ValueError as error:
                    problems.append((place, str(error).replace(f"rules.{name}", ".".join(place), 1)))
                    broken.add(place)
    return problems


def _sections(configuration: RuleConfiguration) -> Iterator[tuple[Place, RuleSettings]]:
    yield ("rules",), configuration.rules
    for name, settings in configuration.populations.items():
        yield ("populations", name), settings
    for name, settings in configuration.patients.items():
        yield ("patients", name), settings


def _together(configuration: RuleConfiguration) -> Iterator[tuple[Place, RuleSettings]]:
    """Each section with what it stands on, in every way that it may be met."""
    yield ("rules",), configuration.rules
    for name in configuration.populations:
        yield ("populations", name), settings_of(configuration, None, name)
    for name in configuration.patients:
        for population in ("", *configuration.populations):
            yield ("patients", name), settings_of(configuration, name, population)


def _problems(rule: Rule[Any], given: Mapping[str, Any], setting: str) -> list[tuple[str, str]]:
    """(parameter, what is wrong with it)."""
    hints = get_type_hints(type(rule.defaults), include_extras=True)
    defaults = msgspec.to_builtins(rule.defaults)
    problems = []
    for name, value in given.items():
        if name not in hints:
            problems.append((name, f"{setting}.{name} = {value!r}: there is no such parameter{_meant(name, hints)}"))
            continue
        try:
            msgspec.convert(value, hints[name])
        except msgspec.ValidationError as error:
            meta = next(part for part in hints[name].__metadata__ if isinstance(part, Meta))
            text, default = str(error), msgspec.json.encode(defaults[name]).decode()
            way_out = f"{meta.description} By default {default}" if len(default) < 80 else f"{meta.description}"
            shown = "null, inf or nan" if value is None else repr(value)
            problems.append((name, f"{setting}.{name} = {shown}: {text[:1].lower()}{text[1:]}. {way_out}"))
    return problems


def _meant(name: str, names: Any) -> str:
    """What may have been meant, as the end of a sentence."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f": write {close[0]}" if close else f": there are {', '.join(names)}"


def settings_of(configuration: RuleConfiguration, patient_id: str | None, population: str) -> RuleSettings:
    """What holds for a patient of a population, the nearer going before the farther, parameter by parameter."""
    merged: RuleSettings = {name: dict(given) for name, given in configuration.rules.items()}
    nearer = [configuration.populations.get(population, {})]
    if patient_id is not None:
        nearer.append(configuration.patients.get(patient_id, {}))
    for settings in nearer:
        for name, given in settings.items():
            merged[name] = {**merged.get(name, {}), **given}
    return merged


class Desks:
    """Whose desk is whose: one for each set of parameters, made when it is first asked for.

    Raises:
        ValueError: the configuration is wrong; what holds for everybody is looked at here, the rest by :func:`check`.
    """

    def __init__(self, configuration: RuleConfiguration | None = None) -> None:
        self.configuration = configuration or RuleConfiguration(version=0)
        self._everybody = Desk(self.configuration.rules)
        self._alike = not self.configuration.populations and not self.configuration.patients
        self._made: dict[tuple[str | None, str], Desk] = {}

    def of(self, patient_id: str, population: str) -> Desk:
        """The desk of a patient of a population."""
        if self._alike:
            return self._everybody
        own = patient_id if patient_id in self.configuration.patients else None
        place = population if population in self.configuration.populations else ""
        if own is None and not place:
            return self._everybody
        desk = self._made.get((own, place))
        if desk is None:
            desk = self._made[own, place] = Desk(settings_of(self.configuration, own, place))
        return desk
