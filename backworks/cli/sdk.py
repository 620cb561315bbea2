"""``backworks sdk``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from backworks.sdk import Kit

__all__ = ["sdk"]


@click.group()
def sdk() -> None:
    """Find the SDKs for plugin authors."""


@sdk.command()
@click.option("--c", "kit", flag_value="c", help="Only the directory of backworks_plugin.h, for cc -I.")
@click.option("--cpp", "kit", flag_value="cpp", help="Only the directory of backworks_plugin.hpp, for c++ -I.")
@click.option("--rust", "kit", flag_value="rust", help="Only the crate backworks-plugin-sdk, for a path dependency.")
@click.option("--go", "kit", flag_value="go", help="Only the Go package.")
@click.option("--zig", "kit", flag_value="zig", help="Only the directory of the Zig module backworks.zig.")
def path(kit: Kit | None) -> None:
    """Print the paths of the C header and the other SDKs.

    \b
      cc -shared -fPIC -I"$(backworks sdk path --c)" plugin.c -o libplugin.so
    """  # noqa: D301  # click needs the escaped character, not a backslash and a b
    from backworks import sdk as kits

    for each in kits.KITS if kit is None else (kit,):
        try:
            click.echo(kits.path(each))
        except FileNotFoundError as error:
            raise click.ClickException(str(error)) from None
