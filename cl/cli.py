"""The command line. Heavy libraries load inside the commands, so that `cl --help` answers at once.

Exit codes: 0 done, 1 a failure of ours or of a cell, 2 the user's mistake, 130 interrupted (resumable).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cl import __version__
from cl.types import KINDS, Kind

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Continual learning for language: streams of NER and sentiment, anti-forgetting plugins, forgetting curves.",
)
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Beat the YAML.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder or one of its cells.")]
CellFolder = Annotated[Path, typer.Argument(metavar="CELL", help="A cell, such as runs/mine/replay/seed0.")]
ExperienceName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Whose classes compete, or whose network answers, if that differs.")
]
KindName = Annotated[str | None, typer.Option(metavar="KIND", help="sequence or token, if the cell has learnt both.")]
Section = Annotated[str, typer.Argument(metavar="[SECTION]", help="Such as training or stream.toy.")]
PluginName = Annotated[str, typer.Argument(metavar="[NAME]", help="A plugin, or the dotted path of one of yours.")]
StreamName = Annotated[str, typer.Argument(metavar="[NAME]", help="A scenario, a protocol or a file format.")]
Only = Annotated[str, typer.Option(metavar="NAME,...", help="These strategies alone.")]
Seeds = Annotated[str, typer.Option(metavar="K,...", help="These seeds alone.")]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of the command itself."""


@app.command()
def run(config: ConfigFile, overrides: Overrides = None, only: Only = "", seed: Seeds = "") -> None:
    """Train through the stream, every strategy and seed; evaluate after every experience; write the report.

    Cells that were interrupted or failed go on from their last checkpoint; finished ones are left alone.
    """
    from cl import config as configuration

    read = configuration.load(config, overrides or [])  # before what takes seconds to import: a typo is told at once
    from cl.runs import grid

    grid.run(read, only=_words(only), seeds=_numbers(seed))


@app.command()
def check(config: ConfigFile, overrides: Overrides = None) -> None:
    """Validate config and data without training: strategies, the stream as a table, sizes, every problem found."""
    from cl import config as configuration

    read = configuration.load(config, overrides or [])  # before what takes seconds to import: a typo is told at once
    from cl.runs.inspection import check

    raise typer.Exit(2 if check(read).problems else 0)


@app.command()
def resume(folder: RunFolder, overrides: Overrides = None, only: Only = "", seed: Seeds = "") -> None:
    """Go on with all that was ever asked for in a run folder and is not finished, each cell from its last checkpoint.

    Relative paths in the config mean what they meant when the run began. Options of trainer and training may change on
    the way: trainer.devices=2 changes no result from the next experience on; others do, and a warning names them.
    """
    from cl.runs import grid

    chosen = [*(["--only", only] if only else []), *(["--seed", seed] if seed else [])]
    folder = _as_it_began(folder, [*(overrides or []), *chosen])
    grid.resume(folder, overrides or [], only=_words(only), seeds=_numbers(seed))


def _as_it_began(folder: Path, arguments: list[str]) -> Path:
    """Goes to the folder that the run was started in, if it is still there; the run folder as seen from there."""
    from cl.runs.cells import CELLS
    from cl.system.state import state_of

    states = (state_of(file.parent) for file in [folder / "config.yaml", *sorted(folder.glob(CELLS))])
    began = next((Path(state.started_in) for state in states if state and state.started_in), Path.cwd())
    if not began.is_dir() or began == Path.cwd():
        return folder
    folder = folder.resolve()
    # Other ranks are started with this command line, in that folder.
    command = Path(sys.argv[0])
    sys.argv[:] = [str(command.absolute()) if command.exists() else sys.argv[0], "resume", str(folder), *arguments]
    os.chdir(began)
    return folder


@app.command()
def status(folder: RunFolder) -> None:
    """Show the cells of a run folder: their states, how far they are, and what they hold on disk."""
    from cl.runs.status import show_status

    show_status(folder)


@app.command()
def clean(folder: RunFolder) -> None:
    """Delete the checkpoints of finished cells; results stay. (With run.keep=none they go as soon as a cell ends.)"""
    from rich.filesize import decimal

    from cl.runs.disk import clean as clean_folder

    typer.echo(f"{folder}: {decimal(clean_folder(folder))} freed")


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders or cells, to compare.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; default: the first folder.")] = None,
    metrics: Annotated[str, typer.Option(metavar="NAME,...", help="Columns of the table, such as forgetting.")] = "",
) -> None:
    """Write one self-contained HTML page, with figures and tables, of one run or comparing several."""
    from cl.reporting.cells import load_cells
    from cl.reporting.console import print_comparison
    from cl.reporting.report import reporting_on, write_report
    from cl.reporting.tables import COLUMNS, chosen_columns
    from cl.system.notices import Notices
    from cl.system.printing import console_for

    columns = chosen_columns(_words(metrics)) or COLUMNS
    with Notices(console_for()).listening(), reporting_on(out or folders[0]):
        cells = load_cells(folders)
        path = write_report(cells, out or folders[0], columns)
    print_comparison(cells)
    typer.echo(f"report: {path}")


@app.command()
def predict(
    cell: CellFolder,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A text a line, or .jsonl; - for standard input.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; default: standard output.")] = None,
    experience: ExperienceName = None,
    kind: KindName = None,
) -> None:
    """What a finished cell says of texts: JSON lines with labels, or tags and entities, and probabilities.

    Records of a .jsonl file have a `text`, or `tokens`: the words to tag. Of a text without that, words are what stands
    between blanks.
    """
    from cl.runs.inputs import read_inputs
    from cl.runs.predict import Predictor, write_answers
    from cl.system.notices import Notices
    from cl.system.printing import console_for

    with Notices(console_for(stderr=True)).listening():
        write_answers(Predictor(cell, experience, _kind(kind))(read_inputs(file)), out)


@app.command()
def explain(
    cell: CellFolder,
    text: Annotated[str, typer.Option(help="What to explain; words to be tagged have blanks between them.")],
    after: Annotated[str, typer.Option(metavar="NAME,...", help="As the cell stood after these experiences.")] = "",
    out: Annotated[Path | None, typer.Option(help="A folder for explanation.html and explanation.json.")] = None,
    experience: ExperienceName = None,
    kind: KindName = None,
) -> None:
    """Which words made an answer: each is left out in turn, and the answer's probability falls by so many points.

    With --after it shows, side by side, what later experiences have changed; the run needs run.keep=all.
    """
    from cl.reporting.explanations import show_explanations, write_explanations
    from cl.runs.explain import explain
    from cl.system.notices import Notices
    from cl.system.printing import console_for, say

    console = console_for()
    with Notices(console_for(stderr=True)).listening():  # of what is cut off, say
        found = explain(cell, text, _words(after), experience, _kind(kind))
    show_explanations(found, console)
    if out is not None:
        say(console, str(write_explanations(found, out)))


@app.command()
def errors(cell: CellFolder) -> None:
    """What a cell takes for what: confusions, and the most confident mistakes, of runs with evaluate.predictions."""
    from cl.runs.status import show_errors

    show_errors(cell)


@app.command()
def export(
    cell: CellFolder,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    experience: ExperienceName = None,
    kind: KindName = None,
    merged: Annotated[bool, typer.Option("--merged", help="An adapter within the weights, not beside them.")] = False,
) -> None:
    """Write a finished cell's network as a folder that transformers loads without `cl`, with a model card.

    Of a cell that has trained an adapter it is a folder for peft.
    """
    from cl.runs.export import export as export_cell

    typer.echo(export_cell(cell, folder, experience, _kind(kind), merged))


@app.command()
def plugins(name: PluginName = "") -> None:
    """List the plugins that a strategy is made of; or tell all about one: idea, paper, knobs, cost, when to use it."""
    from cl.runs.listings import list_plugins, show_plugin

    if name:
        show_plugin(name)
    else:
        list_plugins()


@app.command()
def config(section: Section = "") -> None:
    """Every key of a config, or of a section: type, default, range and meaning."""
    from cl.runs.status import show_keys

    show_keys(section)


@app.command()
def streams(name: StreamName = "") -> None:
    """List the scenarios, protocols and file formats; or tell all about one: what it is, its options."""
    from cl.runs.listings import list_streams, show_stream

    if name:
        show_stream(name)
    else:
        list_streams()


def _kind(name: str | None) -> Kind | None:
    for kind in KINDS:
        if name == kind:
            return kind
    if name is not None:
        raise typer.BadParameter(f"{name!r}: give {' or '.join(KINDS)}", param_hint="--kind")
    return None


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(word) for word in _words(text)]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: give whole numbers, such as --seed 0,1") from error


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
    from cl.runs.grid import CellsFailed

    if not isinstance(error, CellsFailed):
        raise error
    typer.echo(f"error: {error}", err=True)
    return 1
