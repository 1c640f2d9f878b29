"""A table for a console, for Markdown and for LaTeX."""

from __future__ import annotations

import re

from anyascii import anyascii
from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from cl.reporting.tables import Entry, StrategyRow, Table

LAST_OF_LATIN = "\u024f"


def to_rich(table: Table) -> RichTable:
    """The table for a console."""
    rich = RichTable(caption=table.caption, caption_justify="left", box=SIMPLE_HEAD)
    for i, heading in enumerate(table.headings):
        rich.add_column(Text(heading), justify="right" if i else "left", overflow="fold")
    for row in table.rows:
        entries = (Text(_shown(e, table), "bold" if e and e.best else "") for e in row.entries)
        rich.add_row(Text(row.name), *entries, Text(_seeds(row)))
    return rich


def to_markdown(table: Table) -> str:
    """The table in GitHub's Markdown."""

    def entry(entry: Entry | None) -> str:
        text = _shown(entry, table)
        return f"**{text}**" if entry and entry.best else text

    lines = [table.headings, [":--"] + ["--:"] * (len(table.columns) + 1)]
    lines += [[escape_markdown(r.name), *map(entry, r.entries), escape_markdown(_seeds(r))] for r in table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{table.caption}\n"


def to_latex(table: Table, title: str, label: str) -> str:
    r"""The table as LaTeX's booktabs sets it, with a caption and a label; needs `\usepackage{booktabs}`."""

    def entry(entry: Entry | None) -> str:
        if entry is None:
            return "--"
        text = entry.text(table.decimals, r" \pm ").replace("−", "-")
        return (rf"$\mathbf{{{text}}}$" if entry.best else f"${text}$") + entry.seeds

    body = [[escape_latex(r.name), *map(entry, r.entries), escape_latex(_seeds(r))] for r in table.rows]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(f'{title}. {table.caption}')}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) + 1)}}}",
        r"\toprule",
        " & ".join(map(escape_latex, table.headings)) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _shown(entry: Entry | None, table: Table) -> str:
    return "–" if entry is None else entry.text(table.decimals) + entry.seeds


def _seeds(row: StrategyRow) -> str:
    return f"{row.num_seeds}" + (f" ({row.note})" if row.note else "")


LATEX = {
    "†": r"$^\dagger$",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "\u00a0": "~",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{c: "\\" + c for c in "&%$#_{}"},
}


def escape_latex(text: str) -> str:
    """`text` such that LaTeX sets it as it is, letters that its own fonts have not in Latin ones."""
    latin = "".join(c if c <= LAST_OF_LATIN or c in LATEX else anyascii(c) for c in text)
    return "".join(LATEX.get(c, c) for c in latin)


def escape_markdown(text: str) -> str:
    """`text` such that Markdown and the HTML made of it show it as it is."""
    text = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
