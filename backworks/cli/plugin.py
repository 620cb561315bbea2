"""``backworks plugin``: create, build, list, inspect, call, test and measure plugins."""

from __future__ import annotations

import click

from backworks.cli.bench import bench
from backworks.cli.build import build
from backworks.cli.call import call
from backworks.cli.dev import dev
from backworks.cli.exits import CANNOT_LOAD, complain
from backworks.cli.new import new
from backworks.cli.output import json_option, print_json, print_table
from backworks.cli.test import test

__all__ = ["plugin"]


@click.group()
def plugin() -> None:
    """Create, build, list, inspect, call, test and measure plugins."""


plugin.add_command(bench)
plugin.add_command(build)
plugin.add_command(call)
plugin.add_command(dev)
plugin.add_command(new)
plugin.add_command(test)


@plugin.command("list")
@click.argument("places", metavar="[DIR|CONFIG]...", nargs=-1, type=click.Path(exists=True))
@json_option
def list_(places: tuple[str, ...], as_json: bool) -> None:
    """List the plugins in directories and configurations.

    Without an argument, lists those in the current directory. No plugin is loaded; all data is read from the files.
    """
    from backworks.cli.describe import entries, platform, reasons, summary

    found = entries(places or (".",))
    if as_json:
        print_json([{**summary(entry), "used": used} for entry, used in found])
        return
    rows = []
    for entry, used in found:
        status = "; ".join(reasons(entry)) or ("OK" if used else "another plugin with this name is used")
        rows.append((entry.name, entry.version or "?", platform(entry) or "?", status, str(entry.path)))
    if rows:
        print_table(("NAME", "VERSION", "PLATFORM", "STATUS", "FILE"), rows)
    else:
        complain([f"no plugins found in {', '.join(places or ('the current directory',))}"])


@plugin.command()
@click.argument("file", type=click.Path())
@json_option
@click.pass_context
def inspect(ctx: click.Context, file: str, as_json: bool) -> None:
    """Print what a plugin's file contains.

    Shows name, version, ABI, platform, symbols, manifest and SHA-256, and every reason why the plugin cannot be loaded
    here; if there is one, the exit code is 4. The file may be built for another system. It is never loaded.
    """
    from backworks.cli.describe import details, paragraphs
    from backworks.loading.discovery import DiscoveredPlugin
    from backworks.loading.inspection import file_sha256
    from backworks.loading.paths import resolve_library

    found = DiscoveredPlugin.from_file(resolve_library(file))
    digest = None if found.info is None else file_sha256(found.path)  # any other file may be of any size
    if as_json:
        print_json(details(found, digest))
    else:
        click.echo("\n".join(paragraphs(found, digest)))
    complain(str(problem) for problem in found.problems)
    if not found.loadable:
        ctx.exit(CANNOT_LOAD)
