"""``backworks plugin build``."""

from __future__ import annotations

import click

from backworks.cli.exits import complain

__all__ = ["build"]


@click.command()
@click.argument("directory", type=click.Path(), default=".")
def build(directory: str) -> None:
    """Build the plugin in DIRECTORY (default: the current directory).

    The build file selects the toolchain: Cargo.toml, go.mod, build.zig, CMakeLists.txt or Makefile. The library is
    moved to the path that the backworks.yaml in the same directory gives, so a running host never sees a half-written
    file; the path is printed to stdout. A Makefile must leave the library in the directory named by OUT.

    The exit code is 5 if the build fails, and 6 if a tool is not installed.
    """
    from pathlib import Path

    from backworks.authoring.building import Builder

    built = Builder(Path(directory), lambda line: complain([line])).build()
    done = "built" if built.changed else "up to date"
    config = Path(directory, "backworks.yaml")
    complain([f"{done} in {built.seconds:.1f} s; next: backworks serve {config}"])
    click.echo(_relative(built.library))


def _relative(path: object) -> str:
    import os

    return os.path.relpath(str(path))
