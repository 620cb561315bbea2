"""``backworks sdk``."""

from __future__ import annotations

import click

__all__ = ["sdk"]


@click.group()
def sdk() -> None:
    """Find the kits for plugin authors."""


@sdk.command()
@click.option("--c", "kit", flag_value="c", help="Only the folder of backworks_plugin.h, for cc -I.")
@click.option("--rust", "kit", flag_value="rust", help="Only the crate backworks-plugin-sdk, for a path dependency.")
def path(kit: str | None) -> None:
    """Print where the C header and the Rust crate are.

    \b
      cc -shared -fPIC -I"$(backworks sdk path --c)" plugin.c -o libplugin.so
    """  # noqa: D301  # click knows the character, not the two that stand for it
    from backworks import sdk as kits

    for each in ("c", "rust") if kit is None else (kit,):
        try:
            click.echo(kits.path(each))
        except FileNotFoundError as error:
            raise click.ClickException(str(error)) from None
