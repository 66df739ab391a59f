"""Writes what ``docs/alerts.md`` says about the rules from the rules themselves.

``python -m stream_twin.alerts.table`` rewrites the part between the two marks, ``--check`` exits 1 where it differs.
"""

import argparse
import sys
from collections.abc import Sequence
from inspect import getdoc
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from stream_twin.alerts.handling import Handling
from stream_twin.alerts.rule import Parameters, Rule
from stream_twin.alerts.rules import discover
from stream_twin.alerts.wording import duration

PAGE = Path("docs/alerts.md")
START, END = "<!-- rules: written by python -m stream_twin.alerts.table -->", "<!-- end of rules -->"


def table(rules: Sequence[Rule[Any]]) -> str:
    """Markdown: all priorities of all rules with what follows from them, then each rule with its parameters."""
    lines = [
        "| rule | kind | priority | when | if nobody responds | how soon | told first | nobody answers | over, but not seen | "
        "longest snooze |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for rule in rules:
        handled = rule.handled(rule.defaults)
        for case in rule.priorities:
            handling = handled[case.priority]
            stays = "stays" if handling.latching else "resolved"
            cells = [f"[{rule.name}](#{rule.name})", rule.kind, case.priority, _cell(case.when), case.harm]
            cells += [case.onset, handling.tell[0], _unanswered(handling), stays, duration(handling.longest_snooze_s)]
            lines.append(f"| {' | '.join(cells)} |")
    for rule in rules:
        lines += ["", f"### {rule.name}", "", getdoc(type(rule)) or "", "", f"Version {rule.version}. Parameters:", ""]
        lines += ["| parameter | default | meaning |", "|---|---|---|"]
        hints = get_type_hints(type(rule.defaults), include_extras=True)
        for name, default in msgspec.to_builtins(rule.defaults).items():
            if name in Parameters.__struct_fields__:
                continue  # of every rule, and said once
            meta = next(part for part in hints[name].__metadata__ if isinstance(part, msgspec.Meta))
            text = msgspec.json.encode(default).decode().replace(",", ", ").replace(":", ": ")
            lines.append(f"| `{name}` | `{text}` | {_cell(meta.description or '')} |")
    return "\n".join(lines)


def _unanswered(handling: Handling) -> str:
    if handling.repeat_s is None and handling.escalate_s is None:
        return "told once"
    told = "" if handling.repeat_s is None else f"told again every {duration(handling.repeat_s)}"
    if handling.escalate_s is None or len(handling.tell) < 2:
        return told
    further = ", ".join(
        f"{role} after {duration(number * handling.escalate_s)}" for number, role in enumerate(handling.tell[1:], start=1)
    )
    return f"{told}; {further}" if told else further


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def page(text: str, rules: Sequence[Rule[Any]]) -> str:
    """The page with the part between the marks replaced.

    Raises:
        ValueError: a mark is missing.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"{PAGE} has lost its mark {START if not start else END!r}: put it back where the rules belong")
    return f"{before}{START}\n\n{table(rules)}\n\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where the page differs from the rules")
    wanted_check = parser.parse_args().check
    text = PAGE.read_text()
    wanted = page(text, discover())
    if wanted_check and text != wanted:
        print(f"{PAGE} differs from the rules: run python -m stream_twin.alerts.table", file=sys.stderr)
        return 1
    if not wanted_check:
        PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
