"""Generates the reference of the Python package from the docstrings of its public names."""

from __future__ import annotations

import inspect

import backworks

__all__ = ["page"]

_HEAD = """# Python

Generated from the docstrings.
Import everything from `backworks`, except where a heading names another module.
"""


def page() -> str:
    """Returns the page in Markdown: functions, classes, errors, then the settings that functions take."""
    sections: dict[str, list[str]] = {"Functions": [], "Classes": [], "Errors": []}
    sections["Errors"] += [".. automodule:: backworks.errors\n   :no-members:", ".. currentmodule:: backworks"]
    for name in backworks.__all__:
        value = getattr(backworks, name)
        if not inspect.isclass(value):
            if callable(value):
                sections["Functions"].append(f".. autofunction:: {name}")
        elif issubclass(value, BaseException):
            sections["Errors"].append(f".. autoexception:: {name}")
        else:
            sections["Classes"].append(f".. autoclass:: {name}\n   :members:")
    sections["From backworks.config"] = [
        ".. currentmodule:: backworks.config",
        ".. autofunction:: load_config",
        ".. autoclass:: Config",
    ]
    out = [_HEAD]
    for title, directives in sections.items():
        first = ".. currentmodule:: backworks"
        body = "\n\n".join(directives if directives[0].startswith(".. current") else [first, *directives])
        out.append(f"## {title}\n\n```{{eval-rst}}\n{body}\n```\n")
    return "\n".join(out)
