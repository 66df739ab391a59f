"""``stream-twin doctor``: what is not as it should be, and what to do about it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings, unknown_environment

SKEW_S = 1.0
"""More than this between the clocks of two machines is worth mending: silence and lateness go by them."""


class Finding(NamedTuple):
    """``todo``: what to do; empty where all is well."""

    what: str
    found: str
    todo: str = ""


@from_settings(*BROKER, "group", "partition_count")
def doctor(settings: Settings) -> None:
    """Look at settings, broker, topics, lanes and clocks, and say what to do. Exit code 1: something is to be done."""
    table = Table("", "found", "what to do")
    troubles = 0
    for finding in examine(settings):
        troubles += bool(finding.todo)
        table.add_row(f"[{'red' if finding.todo else 'green'}]{finding.what}", finding.found, finding.todo)
    Console().print(table)
    if troubles:
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """From the settings outwards; ends where what follows could not be found out."""
    from stream_twin import app
    from stream_twin.kafka import admin, checkup
    from stream_twin.kafka.failures import is_away
    from stream_twin.kafka.placing import full_name, suffix_of
    from stream_twin.settings import SettingsError

    for sentence in unknown_environment():
        yield Finding("settings", sentence, "correct the name, or unset it")
    try:
        app.Service(settings)
        broker = app.broker(settings)
        yield Finding("settings", "valid")
    except (SettingsError, OSError) as error:
        yield Finding("settings", str(error), "correct it; docs/settings.md lists what is allowed")
        return
    try:
        found = broker.admin.list_topics(timeout=10)
        yield Finding("broker", ", ".join(str(one) for one in found.brokers.values()))
        differences = admin.check(broker, settings.prefix, settings.partition_count)
        missing = [difference for difference in differences if difference.found is None]
        if missing:
            yield Finding("topics", f"{len(missing)} are missing, such as {missing[0].topic}", missing[0].mend)
        for difference in differences:
            if difference.found is not None:
                yield Finding("topics", str(difference).rpartition(": ")[0], difference.mend)
        if not differences:
            yield Finding("topics", "as they must be")
        inputs = full_name(settings.prefix, "twin.inputs", suffix_of(found.topics, settings.prefix, settings.partition_count))
        yield _lanes(checkup.lanes_owned(broker, settings.group, inputs), settings)
        yield _clock(checkup, broker, settings.prefix)
    except Exception as error:
        if not is_away(error):
            raise
        yield Finding("broker", f"{settings.broker} does not answer: {error}", "start it, or correct --broker and kafka_options")


def _lanes(owned: dict[int, str], settings: Settings) -> Finding:
    missing = [lane for lane in range(settings.partition_count) if lane not in owned]
    if not missing:
        return Finding("lanes", f"{len(owned)}, owned by workers on {', '.join(sorted(set(owned.values())))}")
    todo = "start stream-twin worker; if one runs, wait until it has joined, or look into its log"
    return Finding("lanes", f"{len(missing)} of {settings.partition_count} have no worker in group {settings.group}", todo)


def _clock(checkup: Any, broker: Any, prefix: str) -> Finding:
    try:
        skew_s = checkup.clock_skew_s(broker, prefix)
    except Exception as error:
        return Finding("clock", f"could not be compared with the broker's, which needs a topic for a moment: {error}")
    found = f"this one is {abs(skew_s):.2f} s {'ahead of' if skew_s > 0 else 'behind'} the broker's"
    return Finding("clock", found, "" if abs(skew_s) <= SKEW_S else "let NTP set the clocks of both machines")


def register(app: typer.Typer) -> None:
    app.command()(doctor)
