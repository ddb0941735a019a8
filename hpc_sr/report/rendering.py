"""Tables as Markdown, CSV, LaTeX, HTML and for a terminal: one layout of rows and columns, five ways to write it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from hpc_sr.markdown import as_text
from hpc_sr.report.page import fill

UNDEFINED = "–"


#: What LaTeX takes for something else, or has no glyph for in its oldest fonts.
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"$<$",
        ">": r"$>$",
        "|": r"$|$",
        "[": "{[}",
        "]": "{]}",
        "–": "--",
        "−": "$-$",
        "×": r"$\times$",
        "°": r"$^\circ$",
        "↓": r"$\downarrow$",
        "↑": r"$\uparrow$",
        "→": r"$\to$",
        "†": r"\dag{}",
    }
)


@dataclass(frozen=True)
class Cell:
    """A value as it is printed. `published` is what a publication has in the same place, UNDEFINED if nothing;
    None in a column that is not compared with any."""

    text: str
    best: bool = False
    published: str | None = None


@dataclass(frozen=True)
class Grid:
    """A table: a title, the heading of every column (the first is over the row names), named rows of cells, and
    what has to be said under it."""

    title: str
    heading: list[str]
    rows: list[tuple[str, list[Cell]]]
    notes: tuple[str, ...] = ()


def as_markdown(grid: Grid) -> str:
    """Return the table as Markdown: title, table, notes. Published values stand in a column before ours."""
    plain = side_by_side(grid)
    rows = [[as_text(name), *(_bold(cell, "**{}**", as_text) for cell in cells)] for name, cells in plain.rows]
    lines = [[as_text(text) for text in plain.heading], ["---", *("---:" for _ in plain.heading[1:])], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([as_text(grid.title), table, *map(as_text, grid.notes)])


def side_by_side(grid: Grid) -> Grid:
    """Return the table with each published value in a column of its own, before ours."""
    heading = [grid.heading[0]]
    for text, both in zip(grid.heading[1:], _compared(grid), strict=True):
        heading += [f"{text} published", "ours"] if both else [text]
    return replace(grid, heading=heading, rows=[(name, _side_by_side(cells)) for name, cells in grid.rows])


def as_csv(grids: list[Grid]) -> str:
    """Return the tables as CSV (RFC 4180) in long form: table, method, score, published, ours; nothing for no value.

    `score` is the heading of the column without its arrow.
    """
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["table", "method", "score", "published", "ours"])
    for grid in grids:
        for name, cells in grid.rows:
            for heading, cell in zip(grid.heading[1:], cells, strict=True):
                values = ("" if text in (None, UNDEFINED) else text for text in (cell.published, cell.text))
                writer.writerow([grid.title, name, re.sub(" (↓|↑|→ 0)$", "", heading), *values])
    return file.getvalue()


def as_latex(grids: list[Grid]) -> str:
    """Return the tables as LaTeX for \\input: each a table of booktabs, shrunk to the width of the line if wider.

    Where it is read, the packages booktabs and graphicx have to be loaded.
    """
    needs = "% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n"
    return needs + "\n".join(_latex_table(grid) for grid in grids)


def _latex_table(grid: Grid) -> str:
    compared = _compared(grid)
    columns = "l" + "".join("rr" if both else "r" for both in compared)
    groups, ruled, below, first = [_latex(grid.heading[0])], [], [""], 2
    for text, both in zip(grid.heading[1:], compared, strict=True):
        groups.append(rf"\multicolumn{{{2 if both else 1}}}{{c}}{{{_latex(text)}}}")
        ruled += [rf"\cmidrule(lr){{{first}-{first + 1}}}"] if both else []
        below += ["published", "ours"] if both else [""]
        first += 2 if both else 1
    lines = [groups, below] if any(compared) else [groups]
    rows = [[_latex(name), *(_latex_cell(cell) for cell in _side_by_side(cells))] for name, cells in grid.rows]
    head, *second = [" & ".join(line) + r" \\" for line in lines]
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{_latex(grid.title)}}}",
            r"\small",
            # The box is set at its natural width unless that is more than the line's.
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            head,
            *ruled,
            *second,
            r"\midrule",
            *(" & ".join(row) + r" \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}}",
            *(rf"\par\smallskip{{\footnotesize {_latex(note)}\par}}" for note in grid.notes),
            r"\end{table}",
            "",
        ]
    )


def as_html(grids: list[Grid], title: str) -> str:
    """Return the tables as one page that needs no other file and no network."""
    tables = [(grid, _compared(grid)) for grid in grids]
    return fill("tables.html.j2", title=title, tables=tables)


def as_console(grid: Grid, width: int) -> Group:
    """Return the table for a terminal of so many columns: published values in a line above ours.

    A terminal that is too narrow for all columns gets them in several tables.
    """
    pairs = any(_compared(grid))
    # A column of numbers takes 10 characters at most, names and sources 34.
    fitting = max(1, (width - (34 if pairs else 24)) // 10)
    tables = []
    for first in range(0, len(grid.heading) - 1, fitting):
        part = slice(first, first + fitting)
        table = Table(title=None if first else escape(grid.title), title_justify="left")
        for number, text in enumerate([grid.heading[0], *([""] if pairs else []), *grid.heading[1:][part]]):
            table.add_column(escape(text), justify="right" if number > pairs else "left", overflow="fold")
        for name, cells in grid.rows:
            for line in _console_lines(name, cells[part], pairs):
                table.add_row(*line)
        tables.append(table)
    return Group(*tables, *map(escape, grid.notes), "")


def _console_lines(name: str, cells: list[Cell], pairs: bool) -> list[list[str]]:
    """Return a row as the lines of a terminal: published and ours, of which one without any value is left out."""
    ours = [_bold(cell, "[bold]{}[/bold]", escape) for cell in cells]
    if not pairs:
        return [[escape(name), *ours]]
    printed = [cell.published or "" for cell in cells]
    lines = [["published", *printed], ["ours", *ours]]
    known = [line for line in lines if any(text not in ("", UNDEFINED) for text in line[1:])] or lines[1:]
    return [[escape(name) if line is known[0] else "", *line] for line in known]


def methods_across(grids: list[Grid]) -> Table:
    """Return the same methods' grids as one table for a terminal: methods across, a section for each grid."""
    table = Table()
    table.add_column("", overflow="fold")
    for method, _ in grids[0].rows:
        table.add_column(escape(method), justify="right", overflow="fold")
    for grid in grids:
        table.add_section()
        if grid is not grids[0]:
            table.add_row(escape(grid.title))
        by_column = zip(grid.heading[1:], transposed([cells for _, cells in grid.rows]), strict=True)
        for name, cells in by_column:
            table.add_row(escape(name), *(_bold(cell, "[bold]{}[/bold]", escape) for cell in cells))
    return table


def methods_down(grids: list[Grid], columns: int = 6) -> list[Table]:
    """Return the grids for a terminal with methods down, in tables of a few columns each."""
    tables = []
    for grid in grids:
        for first in range(0, len(grid.heading) - 1, columns):
            table = Table(title=escape(grid.title), title_justify="left")
            table.add_column("", overflow="fold")
            part = slice(first, first + columns)
            for text in grid.heading[1:][part]:
                table.add_column(escape(text), justify="right", overflow="fold")
            for method, cells in grid.rows:
                table.add_row(escape(method), *(_bold(cell, "[bold]{}[/bold]", escape) for cell in cells[part]))
            tables.append(table)
    return tables


def transposed(columns: list[list[Cell]]) -> list[list[Cell]]:
    """Return the cells of columns as rows, and of rows as columns."""
    return [list(row) for row in zip(*columns, strict=True)]


def _compared(grid: Grid) -> list[bool]:
    """Return for each column of cells whether it has published values."""
    return [any(cells[i].published is not None for _, cells in grid.rows) for i in range(len(grid.heading) - 1)]


def _side_by_side(cells: list[Cell]) -> list[Cell]:
    """Return the cells with each published value as one before ours."""
    parts = ([cell] if cell.published is None else [Cell(cell.published), cell] for cell in cells)
    return [part for pair in parts for part in pair]


def _bold(cell: Cell, form: str, escaped: Callable[[str], str] = str) -> str:
    return form.format(escaped(cell.text)) if cell.best else escaped(cell.text)


def _latex_cell(cell: Cell) -> str:
    return rf"\textbf{{{_latex(cell.text)}}}" if cell.best else _latex(cell.text)


def _latex(text: str) -> str:
    return text.translate(_LATEX)
