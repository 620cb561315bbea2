"""The command ``backworks``: thin functions over the package, which each command imports only when it runs."""

from __future__ import annotations

import click

from backworks import __version__
from backworks.cli.config import config
from backworks.cli.exits import ReportingGroup
from backworks.cli.plugin import plugin
from backworks.cli.sdk import sdk
from backworks.cli.serve import serve

__all__ = ["main"]

_EPILOG = """
\b
Exit codes:
  0    success
  1    the plugin returned an error or no answer
  2    usage error
  3    invalid configuration
  4    a plugin cannot be loaded, or the server cannot listen on the address
  5    a plugin cannot be built
  6    a tool required for the build is not installed
  130  interrupted by Ctrl-C

\b
Examples:
  backworks plugin new hello --lang rust
  backworks plugin dev hello
  backworks plugin inspect build/libweather.so
  backworks plugin call build/libweather.so /api/weather --data '{"query": {"limit": "3"}}'
  backworks config check backworks.yaml
  backworks serve backworks.yaml

\b
Shell completion, for this session (or put the line in the shell's startup file):
  bash  eval "$(_BACKWORKS_COMPLETE=bash_source backworks)"
  zsh   eval "$(_BACKWORKS_COMPLETE=zsh_source backworks)"
  fish  _BACKWORKS_COMPLETE=fish_source backworks | source
"""


@click.group(cls=ReportingGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="backworks")
def main() -> None:
    """Create, inspect, call and serve compiled plugins.

    A plugin is a shared library (.so, .dylib, .dll) written in C, C++, Rust, Go, Zig or another language, against the
    C header or one of the SDKs that `backworks sdk path` finds. A configuration is a YAML file that lists plugins and
    their endpoints.
    """


for _command in (serve, config, plugin, sdk):
    main.add_command(_command)
