"""The command line: arguments in, one call out. Results go to stdout, everything else to stderr."""

import errno
import logging
import signal
import sys
from typing import Annotated

import typer

from search_spaces.errors import SpaceError
from supermask.config import ConfigError
from sweeps.commands.compare import compare
from sweeps.commands.confirm import confirm
from sweeps.commands.doctor import doctor
from sweeps.commands.grouped_help import GroupedHelp
from sweeps.commands.mlflow import mlflow_sync, ui
from sweeps.commands.network import export, layers, train
from sweeps.commands.options import err, out
from sweeps.commands.report import report
from sweeps.commands.results import list_sweeps, pareto, status, verify
from sweeps.commands.run import resume, run
from sweeps.commands.space import init
from sweeps.errors import SweepError

_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)

app = typer.Typer(
    cls=GroupedHelp,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version as version_of

        out.print(f"sweeps {version_of('signed-supermask-sweeps')}", highlight=False)
        raise typer.Exit


@app.callback()
def _sweeps(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Sweeps of signed supermask networks: accuracy against remaining weights.

    Example: sweeps init my_space, then sweeps run my_space.yaml
    """


for panel, commands in {
    "Run": {"init": init, "doctor": doctor, "run": run, "resume": resume, "train": train},
    "Look": {
        "list": list_sweeps,
        "status": status,
        "pareto": pareto,
        "compare": compare,
        "report": report,
        "layers": layers,
        "ui": ui,
    },
    "Use": {"confirm": confirm, "export": export},
    "Keep": {"verify": verify, "mlflow-sync": mlflow_sync},
}.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)


def main() -> None:
    """Entry point: turns our exceptions into one message and an exit code."""
    warnings_only = logging.StreamHandler(sys.stderr)
    warnings_only.setLevel(logging.WARNING)
    logging.basicConfig(format="%(message)s", handlers=[warnings_only])
    # A batch system's end is a Ctrl-C, and a shell starts background jobs with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        app()
    except (ConfigError, SpaceError) as error:
        _fail(str(error), 2)
    except SweepError as error:
        _fail(error.message, error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except OSError as error:
        if error.errno not in _OF_DISKS:
            raise
        _fail(f"{error.filename or 'disk'}: must be writable, but got: {error}. Make room and try again.", 1)


def _fail(message: str, code: int) -> None:
    err.print(message, style="red", markup=False, soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
