"""Settings as options of a command."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from stream_twin.settings import Settings, SettingsError, load

BROKER = ("broker", "prefix")
"""What every command needs that reads or writes Kafka."""


def _is_plain(field: FieldInfo) -> bool:
    return field.annotation in (str, int, float) or get_origin(field.annotation) is Literal


EVERY = tuple(name for name, field in Settings.model_fields.items() if _is_plain(field))
"""All settings that fit one option; tables are given by ``--set``."""


def from_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command's first parameter, the Settings, out of options: one for each name, ``--config`` and ``--set``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

        @functools.wraps(command)
        def run(config: Path | None, assignments: list[str], **given: Any) -> None:
            options = {name: given.pop(name) for name in names}
            command(load(config, **options, **dict(map(_assignment, assignments))), **given)

        parameters = [_parameter(name, str | None, _option(name, Settings.model_fields[name]), None) for name in names]
        config = typer.Option("--config", help="TOML file with settings; also STREAM_TWIN_CONFIG.", show_default=False)
        setting = typer.Option("--set", metavar="NAME=VALUE", help="Any setting of docs/settings.md.", show_default=False)
        parameters += [_parameter("config", Path | None, config, None), _parameter("assignments", list[str], setting, [])]
        keyword_only = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
        run.__signature__ = inspect.Signature([*keyword_only, *parameters])  # type: ignore[attr-defined]  # typer reads it
        run.__annotations__ = {one.name: one.annotation for one in (*own, *parameters)}
        return run

    return decorate


def _parameter(name: str, kind: Any, option: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, option])


def _option(name: str, field: FieldInfo) -> Any:
    default = f" Default: {field.default}." if field.default != "" else ""
    choices = "|".join(map(str, get_args(field.annotation)))
    metavar = choices or ("TEXT" if field.annotation is str else "NUMBER")
    return typer.Option(f"--{name.replace('_', '-')}", metavar=metavar, help=f"{field.description}{default}", show_default=False)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"--set {text}: give NAME=VALUE, such as --set lane.hold_unknown_s=60")
    return name.strip(), value.strip()
