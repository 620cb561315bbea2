"""``backworks config``: look at a configuration without starting anything."""

from __future__ import annotations

import click

from backworks.cli.exits import BAD_CONFIG, CANNOT_LOAD, complain
from backworks.cli.output import json_option, print_json

__all__ = ["config"]

_file = click.argument("file", metavar="CONFIG", type=click.Path())


@click.group()
def config() -> None:
    """Check and show configurations; starts nothing."""


@config.command()
@_file
@click.pass_context
def check(ctx: click.Context, file: str) -> None:
    """Check a configuration and the plugins that it names.

    Lists everything that is wrong, each with its line and column: the file itself, configurations that a plugin's
    own schema does not accept, and libraries that would not load on this machine. No library is loaded.
    """
    from backworks.config import load_config, warnings_of
    from backworks.config.plugins import check_plugins

    loaded = load_config(file)
    settings, libraries, left_out = check_plugins(loaded)
    complain(f"warning: {line}" for line in warnings_of(loaded))
    complain(f"warning: {line}; it is not critical, so the host starts without it" for line in left_out)
    complain(settings + libraries)
    if settings or libraries:
        ctx.exit(BAD_CONFIG if settings else CANNOT_LOAD)
    click.echo(f"{file}: {_count(len(loaded.plugins), 'plugin')} and {_count(len(loaded.endpoints), 'endpoint')}: good")


@config.command()
@click.argument("file", metavar="[CONFIG]", type=click.Path(), required=False)
def schema(file: str | None) -> None:
    """Print the JSON Schema of configurations, for editors.

    With a CONFIG, the schema also knows what its plugins accept, as their manifests say.

    Editors with the YAML language server take it from a file, named in the first line of a configuration:

    \b
      backworks config schema backworks.yaml > backworks.loading.schema.json
      # yaml-language-server: $schema=backworks.loading.schema.json
    """  # noqa: D301  # click knows the character, not the two that stand for it
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
    """Print a configuration as it is understood.

    With all defaults and absolute paths, as YAML that can be loaded again. In a plugin's own configuration, what
    comes from the environment is shown as ${NAME}, since it may be a secret.
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
