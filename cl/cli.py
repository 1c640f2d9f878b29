"""The command line. Heavy libraries load inside the commands, so that `cl --help` answers at once.

Exit codes: 0 done, 1 a failure of ours or of a cell, 2 the user's mistake, 130 interrupted (resumable).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Continual learning for language: streams of NER and sentiment, anti-forgetting plugins, forgetting curves.",
)
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Beat the YAML.")]


@app.command()
def run(config: ConfigFile, overrides: Overrides = None) -> None:
    """Train through the stream, every strategy and seed; evaluate after every experience; write the report."""
    from cl import config as configuration
    from cl import experiment

    experiment.run(configuration.load(config, overrides or []))


@app.command()
def check(config: ConfigFile, overrides: Overrides = None) -> None:
    """Validate config and data without training: strategies, the stream as a table, sizes, every problem found."""
    from cl import config as configuration
    from cl.inspection import inspect

    raise typer.Exit(inspect(configuration.load(config, overrides or [])))


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder or one of its cells.")],
    overrides: Overrides = None,
) -> None:
    """Go on with an interrupted or failed run, each cell from its last checkpoint.

    Options of trainer and training may change on the way: trainer.devices=2 changes no result from the next
    experience on; others do, and a warning names them.
    """
    from cl import config as configuration
    from cl import experiment
    from cl.types import UserError

    whole = (folder / "grid.yaml").exists()
    file = folder / ("grid.yaml" if whole else "config.yaml")
    if not file.exists():
        raise UserError(f"{folder}: no run is here (no grid.yaml or config.yaml): give the folder that `cl run` wrote")
    config = configuration.load(file, overrides or [])
    config.run.dir = str(folder if whole else folder.resolve().parent.parent)
    experiment.run(config, resume=True, changed=bool(overrides), compare=whole)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders or cells, to compare.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; default: the first folder.")] = None,
) -> None:
    """Write one self-contained HTML page, with figures and tables, of one run or comparing several."""
    from cl.reporting.cells import load_cells
    from cl.reporting.console import print_comparison
    from cl.reporting.report import write_report

    cells = load_cells(folders)
    path = write_report(cells, out or folders[0])
    print_comparison(cells)
    typer.echo(f"report: {path}")


@app.command()
def strategies() -> None:
    """List the plugins that a strategy is made of, with their papers."""
    from cl.inspection import list_strategies

    list_strategies()


@app.command()
def streams() -> None:
    """List the scenarios, the built-in stream and the file formats."""
    from cl.inspection import list_streams

    list_streams()


def main() -> None:
    """The console script: errors of the user's become one message and exit code 2."""
    try:
        code = app(standalone_mode=False)  # 130 after KeyboardInterrupt
    except Exception as error:
        code = _explain(error)
    sys.exit(code)


def _explain(error: Exception) -> int:
    """Prints an error as its kind deserves; the exit code."""
    if hasattr(error, "exit_code") and hasattr(error, "show"):  # typer's own: a wrong command line
        error.show()
        return int(error.exit_code)
    from cl.types import UserError

    if isinstance(error, UserError):
        typer.echo(f"error: {error}", err=True)
        return 2
    from cl.experiment import CellsFailed

    if not isinstance(error, CellsFailed):
        raise error
    typer.echo(f"error: {error}", err=True)
    return 1
