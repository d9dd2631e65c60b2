"""The documentation as a site: `make site` writes it to `site/`. It opens from disk, without a network."""

from __future__ import annotations

from pathlib import Path

from pygments.lexers.data import JsonLexer
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from unlearn_sweep import __version__

project = "unlearn-sweep"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns: list[str] = []
html_theme = "furo"
html_title = f"unlearn-sweep {__version__}"
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # it would be fetched, which a browser forbids for files
# Headings have the anchors that they have on GitHub.
myst_heading_anchors = 4
myst_links_external_new_tab = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
nitpicky = False
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"


# What the theme leaves out for a keyboard or a screen reader: names of its two side columns, the level of its captions,
# and focus for what scrolls sideways.
ACCESSIBLE = {
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="All pages">',
    '<aside class="toc-drawer': '<aside aria-label="On this page" class="toc-drawer',
    'class="caption" role="heading">': 'class="caption" role="heading" aria-level="2">',
    '<div id="search-results"></div>': '<h1>Search</h1><div class="results" id="search-results"></div>',
    "<pre>": '<pre tabindex="0">',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
}


def setup(app: Sphinx) -> None:
    """Teach the highlighter the names that our examples give their blocks, and finish the pages."""
    app.add_lexer("jsonl", JsonLexer)
    app.add_lexer("csv", TextLexer)
    app.connect("build-finished", finish_pages)


def finish_pages(app: Sphinx, error: Exception | None) -> None:
    """Add to every page what the theme leaves out. Pages that an earlier build finished stay as they are."""
    for page in Path(app.outdir).glob("*.html") if error is None else ():
        text = page.read_text(encoding="utf-8")
        for found, better in ACCESSIBLE.items():
            text = text.replace(found, better)
        page.write_text(text, encoding="utf-8")
