"""``backworks config``: inspect a configuration without starting anything."""

from __future__ import annotations

from typing import NamedTuple

import click

from backworks.cli.exits import BAD_CONFIG, CANNOT_LOAD, OK, complain
from backworks.cli.output import json_option, print_json
from backworks.errors import ConfigError

__all__ = ["config"]

_file = click.argument("file", metavar="CONFIG", type=click.Path())


@click.group()
def config() -> None:
    """Check and show configurations without starting anything."""


@config.command()
@_file
@json_option
@click.pass_context
def check(ctx: click.Context, file: str, as_json: bool) -> None:
    """Check a configuration and the plugins that it lists.

    Reports every problem with its line and column: errors in the file, plugin settings that the plugin's own schema
    rejects, and libraries that cannot be loaded on this machine. Warns about what is valid but probably a mistake, such
    as a plugin without an endpoint or a path at which there is no file. No library is loaded.
    """
    found = _findings(file)
    if as_json:
        print_json({"file": file, "ok": found.code == OK, "errors": found.errors, "warnings": found.warnings})
    else:
        complain(f"warning: {line}" for line in found.warnings)
        complain(found.errors)
        if found.code == OK:
            click.echo(f"{file}: OK ({found.counts})")
    ctx.exit(found.code)


class _Findings(NamedTuple):
    """The result of a check: the exit code, the lines, and the numbers of plugins and endpoints in words."""

    code: int
    errors: list[str]
    warnings: list[str]
    counts: str = ""


def _findings(file: str) -> _Findings:
    from backworks.config import load_config, warnings_of
    from backworks.config.plugins import check_plugins

    try:
        loaded = load_config(file)
    except ConfigError as error:
        return _Findings(BAD_CONFIG, [*error.errors], [])
    checked = check_plugins(loaded, linking=True)
    left_out = (f"{line}; the plugin is not critical, so the host starts without it" for line in checked.left_out)
    warnings = [*warnings_of(loaded), *checked.absent, *left_out]
    code = BAD_CONFIG if checked.settings else CANNOT_LOAD if checked.libraries else OK
    counts = f"{_count(len(loaded.plugins), 'plugin')}, {_count(len(loaded.endpoints), 'endpoint')}"
    return _Findings(code, checked.settings + checked.libraries, warnings, counts)


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
    from backworks.config.plugins import absolute_plugin_configs

    loaded = load_config(file)
    plugin_configs = absolute_plugin_configs(loaded)
    if as_json:
        print_json(config_data(loaded, plugin_configs))
    else:
        click.echo(config_yaml(loaded, plugin_configs), nl=False)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
