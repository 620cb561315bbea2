"""``backworks plugin new``."""

from __future__ import annotations

import click

from backworks.cli.exits import complain

__all__ = ["new"]

_NAMES = {"c": "C", "cpp": "C++", "rust": "Rust", "go": "Go", "zig": "Zig"}


@click.command()
@click.argument("name")
@click.option("--lang", required=True, type=click.Choice(list(_NAMES)), help="The language of the plugin.")
def new(name: str, lang: str) -> None:
    """Create a plugin project in a new directory NAME.

    The project contains a working plugin, its build file, a configuration, a test, a CI workflow, a README, and the
    SDK for its language. Only the language's own package manager downloads anything.

    NAME must have 1 to 64 characters of [a-z0-9._-] and start with a letter or a digit.
    """
    from pathlib import Path

    from backworks.authoring.project import SOURCES, create_project
    from backworks.authoring.toolchains import Job, toolchain_of
    from backworks.errors import ToolNotFound

    try:
        directory = create_project(name, lang, Path())
    except (ValueError, FileExistsError) as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or name}: {error.strerror or error}") from None
    click.echo(
        f"{directory}: created a {_NAMES[lang]} plugin; see {directory / SOURCES[lang]} and {directory / 'README.md'}"
    )
    click.echo(f"Next: backworks plugin dev {directory}")
    try:
        toolchain_of(directory).steps(Job(directory, directory / "build", name))
    except ToolNotFound as error:
        complain([f"warning: {error}"])
