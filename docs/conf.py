"""How Sphinx makes the site; tools/site puts its sources together. Nothing is fetched, neither then nor by a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import backworks

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Backworks"
author = "Backworks"
version = release = backworks.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
default_role = "code"  # single backticks, in the help of the command
smartquotes = False  # what is quoted here is mostly typed

html_theme = "furo"
html_title = f"Backworks {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"footer_icons": []}

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings say what is meant, in words
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def setup(app: Sphinx) -> None:
    """Has Sphinx call what follows: the first before Napoleon reads a docstring."""
    app.connect("autodoc-process-docstring", _without_types, priority=100)
    for part in ("description", "epilog"):
        app.connect(f"sphinx-click-process-{part}", _as_written)


def _without_types(_app: Sphinx, what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Keeps Napoleon from taking words before a colon for a type: in these docstrings no type stands there."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment: Napoleon looks for the type in the first line
    if "Returns:" in lines:
        at = lines.index("Returns:")
        lines[at : at + 2] = [f":returns: {lines[at + 1].strip()}"]


def _as_written(_app: Sphinx, _command: object, lines: list[str]) -> None:
    """Keeps what the help of a command shows as it is written: the lines that click does not wrap."""
    out: list[str] = []
    for line in lines:
        if line.startswith("| "):
            if not out or not out[-1].startswith("   "):
                out += ["", ".. code-block:: text", ""]
            out.append(f"   {line[2:]}")
        else:
            out.append(line)
    lines[:] = out
