"""The site: `make docs` builds it and refuses a broken link. Pages at the top of the repository are included."""

from hpc_sr import __version__

project = "hpc_sr"
release = version = __version__
html_title = "hpc_sr"
html_theme = "furo"
html_show_copyright = False
default_role = "literal"  # docstrings write `names` so
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # a test runs the tutorial
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "undoc-members": False}
suppress_warnings = ["myst.header"]

#: Pages of the site that are files elsewhere, for links that must work in the repository too.
_ELSEWHERE = {
    "../DESIGN.md": "design.md",
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../benchmarks/README.md": "benchmarks.md",
}


def _lead_to_the_site(app, docname, source):
    for path, page in _ELSEWHERE.items():
        source[0] = source[0].replace(f"]({path}", f"]({page}")


def _lead_included_pages(app, relative_path, parent_docname, content):
    """Rewrite the links of an included page, which are relative to where it lies."""
    for path, page in _ELSEWHERE.items():
        content[0] = content[0].replace(f"]({path}", f"]({page}").replace(f"]({path[3:]}", f"]({page}")
    content[0] = content[0].replace("](docs/", "](").replace("](README.md", "](index.md")


def setup(app):
    """Rewrite links before pages are read."""
    app.connect("source-read", _lead_to_the_site)
    app.connect("include-read", _lead_included_pages)
