"""All rules: every file in this folder holds one. Adding a file is all it takes (``docs/add-a-rule.md``)."""

import importlib
import inspect
import pkgutil
from typing import Any

from stream_twin.alerts.rule import Rule


def discover() -> list[Rule[Any]]:
    """One instance of every rule in this folder, by name.

    Raises:
        TypeError: a file does not hold exactly one rule, or the rule is not called as its file.
    """
    rules: list[Rule[Any]] = []
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        found = [
            kind
            for kind in vars(module).values()
            if inspect.isclass(kind) and issubclass(kind, Rule) and kind.__module__ == module.__name__
        ]
        if len(found) != 1:
            raise TypeError(f"alerts/rules/{name}.py holds {len(found)} rules: it must hold exactly one subclass of Rule")
        rule = found[0]()
        if rule.name != name:
            raise TypeError(f"alerts/rules/{name}.py holds the rule {rule.name!r}: give rule and file the same name")
        rules.append(rule)
    return rules
