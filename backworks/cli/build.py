"""``backworks plugin build``."""

from __future__ import annotations

import click

from backworks.cli.exits import complain

__all__ = ["build"]


@click.command()
@click.argument("directory", type=click.Path(), default=".")
def build(directory: str) -> None:
    """Build the plugin in DIRECTORY, the current one without it.

    How, is told by its build file: Cargo.toml, go.mod, build.zig, CMakeLists.txt or Makefile. The library goes where
    the backworks.yaml in the same directory has its path, by renaming, so that a running host does not see it change;
    its path is printed to stdout. A Makefile is given, as OUT, the directory in which to leave it.

    Where it does not build the exit code is 5, and where a tool is not installed, 6.
    """
    from pathlib import Path

    from backworks.authoring.building import Builder

    built = Builder(Path(directory), lambda line: complain([line])).build()
    done = "built" if built.changed else "nothing new"
    config = Path(directory, "backworks.yaml")
    complain([f"{done} in {built.seconds:.1f} s; next: backworks serve {config}"])
    click.echo(_relative(built.library))


def _relative(path: object) -> str:
    import os

    return os.path.relpath(str(path))
