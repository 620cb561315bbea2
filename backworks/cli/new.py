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
    """Make the project of a new plugin, in a directory NAME.

    It holds a plugin that works, its build file, a configuration, a test, a CI workflow and a README, and the kit of
    its language: nothing of it has to be fetched, but for what the language's own package manager fetches.

    NAME has 1 to 64 characters of [a-z0-9._-] and begins with a letter or a digit.
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
        f"{directory}: a plugin in {_NAMES[lang]}; begin with {directory / SOURCES[lang]} and {directory / 'README.md'}"
    )
    click.echo(f"Next: backworks plugin dev {directory}")
    try:
        toolchain_of(directory).steps(Job(directory, directory / "build", name))
    except ToolNotFound as error:
        complain([f"warning: {error}"])
