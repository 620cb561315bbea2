"""``backworks config``: inspect a configuration without starting anything."""

from __future__ import annotations

import click

from backworks.cli.exits import BAD_CONFIG, CANNOT_LOAD, complain
from backworks.cli.output import json_option, print_json

__all__ = ["config"]

_file = click.argument("file", metavar="CONFIG", type=click.Path())


@click.group()
def config() -> None:
    """Check and show configurations without starting anything."""


@config.command()
@_file
@click.pass_context
def check(ctx: click.Context, file: str) -> None:
    """Check a configuration and the plugins that it lists.

    Reports every problem with its line and column: errors in the file, plugin settings that the plugin's own schema
    rejects, and libraries that cannot be loaded on this machine. No library is loaded.
    """
    from backworks.config import load_config, warnings_of
    from backworks.config.plugins import check_plugins

    loaded = load_config(file)
    checked = check_plugins(loaded, linking=True)
    complain(f"warning: {line}" for line in warnings_of(loaded))
    complain(f"warning: {line}; the plugin is not critical, so the host starts without it" for line in checked.left_out)
    complain(checked.settings + checked.libraries)
    if checked.settings or checked.libraries:
        ctx.exit(BAD_CONFIG if checked.settings else CANNOT_LOAD)
    counts = f"{_count(len(loaded.plugins), 'plugin')}, {_count(len(loaded.endpoints), 'endpoint')}"
    click.echo(f"{file}: OK ({counts})")


@config.command()
@click.argument("file", metavar="[CONFIG]", type=click.Path(), required=False)
def schema(file: str | None) -> None:
    """Print the JSON Schema of the configuration, for editors.

    With CONFIG, the schema also covers the settings that its plugins accept, taken from their manifests.

    Editors with the YAML language server read the schema from the file that the first line of a configuration names:

    \b
      backworks config schema backworks.yaml > backworks.schema.json
      # yaml-language-server: $schema=backworks.schema.json
    """  # noqa: D301  # click needs the escaped character, not a backslash and a b
    from backworks.config import config_schema, load_config
    from backworks.config.plugins import add_plugin_schemas

    found = config_schema()
    if file is not None:
        add_plugin_schemas(found, load_config(file))
    print_json(found)


@config.command()
@_file
@json_option
def show(file: str, as_json: bool) -> None:
    """Print a configuration as the host reads it.

    The output is YAML that can be loaded again, with all defaults and absolute paths. In a plugin's own settings,
    values from the environment stay ${NAME}, because they may be secret.
    """
    from backworks.config import load_config
    from backworks.config.dump import config_data, config_yaml

    loaded = load_config(file)
    if as_json:
        print_json(config_data(loaded))
    else:
        click.echo(config_yaml(loaded), nl=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
