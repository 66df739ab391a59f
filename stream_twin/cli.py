"""``stream-twin``: one command for each module of :mod:`stream_twin.commands`.

Exit codes: 0 done; 1 a check found something, or something outside failed; 2 wrong usage or settings; 130 stopped by
Ctrl-C; a worker has more of its own (docs/run.md). An exception with an ``exit_code`` is meant for people: its message is
printed without a traceback.
"""

import importlib
import importlib.metadata
import pkgutil
import sys
from typing import Annotated, NoReturn

import typer

from stream_twin import commands


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stream-twin {importlib.metadata.version('stream-twin')}")
        raise typer.Exit


def application() -> typer.Typer:
    """The command line. A module of ``commands`` that does not load, or has no ``register``, is an error here and now."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)

    @app.callback()
    def stream_twin(
        version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    ) -> None:
        """A live digital twin of every patient watched at home. Research software, not a medical device."""

    for module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."):
        importlib.import_module(module.name).register(app)
    return app


def main() -> None:
    try:
        application()()
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is not None:
            _fail(str(error), code)
        if isinstance(error, OSError):  # also TimeoutError
            _fail(str(error), 1)
        from stream_twin.kafka.failures import is_away  # slow to import, and seldom needed

        if is_away(error):
            _fail(
                f"the broker does not answer ({error}): is --broker right, and is it running? stream-twin doctor looks closer", 1
            )
        raise  # ours, not the user's: the traceback is wanted


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"stream-twin: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
