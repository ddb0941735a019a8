"""Tables in files that other programs read, and on a terminal: rows are full, nothing is taken for markup."""

from __future__ import annotations

import csv
import html.parser
import io
import re

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from hpc_sr.report.rendering import Cell, Grid, as_console, as_csv, as_html, as_latex, as_markdown
from hpc_sr.report.tables import markdown_table
from hpc_sr.report.thesis.published import SCORES
from hpc_sr.report.thesis.tables import thesis_tables


@pytest.fixture
def grids(thesis_runs) -> list[Grid]:
    return thesis_tables(thesis_runs)


def test_csv_is_long_and_complete(thesis_runs):
    grids = thesis_tables(thesis_runs)[:-1]
    lines = list(csv.DictReader(io.StringIO(as_csv(grids), newline="")))
    assert len(lines) == sum(len(cells) for grid in grids for _, cells in grid.rows)
    found = {(line["table"], line["method"], line["score"]): (line["published"], line["ours"]) for line in lines}
    assert len(found) == len(lines)
    totals = "L1C, 20 m, synthesis: all bands"
    assert found[totals, "S2x: first", "SRE, dB"] == ("36.19", "56.88")
    assert found[totals, "Superres †", "RMSE"] == ("66.2", "")
    odd = f"S2x: {thesis_runs[4][0]}"
    assert found["L2A, 20 m, synthesis: all bands", odd, "bPSNR, dB"] == ("", "51.75")
    published = {name for (table, _, name), (text, _) in found.items() if table == totals and text}
    assert {name.split(",")[0] for name in published} == {*SCORES, "RMSE / bicubic"}


def test_markdown_rows_are_as_long_as_their_heading(grids):
    for grid in grids:
        text = as_markdown(grid)
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert len(lines) == len(grid.rows) + 2
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in lines}) == 1
    first = as_markdown(grids[0])
    assert "| S2x: first | 34.99 | **31.25** | 0.278 | **0.250** |" in first


#: Names that Markdown takes for its own: cells, lines, HTML, code, links, emphasis.
HOSTILE = [
    "a|b",
    "a\\|b",
    "two\nlines\r\n| x |",
    "<script>alert(1)</script>",
    "<img src=x onerror=y>",
    "`code` ``",
    "[link](http://x) ![image](y)",
    "**bold** *thin*",
    "&lt;b&gt; &amp;",
    "S2A_MSIL1C_20230615T101031_T33UUB.SAFE",
]


def shown(text: str) -> tuple[list[str], list[list[str]]]:
    """Return the lines of text and the rows of tables as a reader of Markdown sees them; none has markup but bold."""
    known = {"text", "strong_open", "strong_close", "softbreak"}
    lines, rows, inside = [], [], False
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        assert not token.type.startswith(("html", "code", "fence"))
        inside = token.type != "table_close" and (inside or token.type == "table_open")
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline":
            assert {child.type for child in token.children or ()} <= known | {"text_special"}
            content = "".join(child.content for child in token.children or ())
            rows[-1].append(content) if inside else lines.append(content)
    return lines, rows


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_in_markdown_and_never_markup(evaluation, name):
    told = " ".join(name.split())
    grid = Grid(name, ["method", name], [(name, [Cell(name)]), ("best", [Cell(name, best=True)])], (name,))
    lines, rows = shown(as_markdown(grid))
    assert lines == [told, told]
    assert rows == [["method", told], [told, told], ["best", told]]
    page = markdown_table(evaluation(family=name, scenes=(name,)))
    lines, rows = shown(page)
    assert any(row[0] == told for row in rows) and told in lines[0]


def test_latex_has_balanced_braces_full_rows_and_no_bare_specials(grids):
    text = as_latex(grids)
    body = re.sub(r"^%.*$", "", text, flags=re.M)
    assert body.isascii(), "the oldest fonts have no other glyphs"
    depth = 0
    for mark in re.findall(r"(?<!\\)(?:\\\\)*([{}])", body):
        depth += 1 if mark == "{" else -1
        assert depth >= 0
    assert depth == 0
    begun, ended = (re.findall(rf"\\{word}{{(\w+)}}", body) for word in ("begin", "end"))
    assert begun.count("tabular") == ended.count("tabular") == len(grids)
    for columns, rows in re.findall(r"\\begin{tabular}{([lr]+)}\n\\toprule\n(.*?)\\bottomrule", body, flags=re.S):
        for row in rows.splitlines():
            if row.startswith((r"\midrule", r"\cmidrule")):
                continue
            assert row.endswith(r" \\")
            spans = sum(int(n) - 1 for n in re.findall(r"\\multicolumn{(\d+)}", row))
            assert len(re.findall(r"(?<!\\)&", row)) + 1 + spans == len(columns)
    assert r"50\%\_of$|$\{all\} \& \textbackslash{}more$<$b$>$ \#1 \textasciitilde{}\textasciicircum{}\$" in body


def test_columns_with_and_without_published_values_mix(grids):
    row = ("a", [Cell("1"), Cell("2", published="3"), Cell("4")])
    grid = Grid("mixed", ["method", "x", "y", "z"], [row])
    assert as_markdown(grid).splitlines()[2] == "| method | x | y published | ours | z |"
    text = as_latex([grid])
    for part in (r"\begin{tabular}{lrrrr}", r"\cmidrule(lr){3-4}", r" &  & published & ours &  \\"):
        assert part in text
    assert set(Cells(as_html([grid], "mixed")).widths[0]) == {5}
    assert r"\cmidrule(lr){16-17}" in as_latex(grids[:1])


class Cells(html.parser.HTMLParser):
    """Counts the columns of each row, spans over columns and rows included."""

    def __init__(self, page):
        super().__init__()
        self.widths, self.tags, self._rows, self._carried = [], [], [], 0
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        if tag == "table":
            self._rows, self._carried = [], 0
            self.widths.append(self._rows)
        elif tag == "tr":
            self._rows.append(self._carried)
            self._carried = 0
        elif tag in ("th", "td"):
            self._rows[-1] += int(values.get("colspan", 1))
            self._carried += 1 if "rowspan" in values else 0


def test_html_is_one_page_with_full_rows_and_escaped_names(grids):
    page = as_html(grids, "a <title>")
    assert "&lt;title&gt;" in page and "more&lt;b&gt;" in page and "<b>" not in page
    cells = Cells(page)
    assert len(cells.widths) == len(grids)
    assert all(len(set(widths)) == 1 for widths in cells.widths), "each row fills its table"
    assert not {"script", "link", "img"} & set(cells.tags) and "http" not in page


@pytest.mark.parametrize("width", [80, 120])
def test_the_console_shows_every_number(grids, width):
    console = Console(width=width, record=True, file=io.StringIO())
    grid = grids[0]
    console.print(as_console(grid, width))
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= width and "…" not in text
    for _, cells in grid.rows:
        assert all(cell.text in text and cell.published in text for cell in cells)
    assert text.count("┏") == (1 if width == 120 else 2)
