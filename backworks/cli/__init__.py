"""The command ``backworks``: thin functions over the package, which they import only when they run."""

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
  0    fine
  1    the plugin said no: it answered with an error, or not at all
  2    wrong use of the command
  3    bad configuration
  4    could not load a plugin, or not listen at the address
  5    a plugin could not be built
  6    a tool that is needed to build it is not installed
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
Completion in the shell, for this session (or in the shell's start-up file):
  bash  eval "$(_BACKWORKS_COMPLETE=bash_source backworks)"
  zsh   eval "$(_BACKWORKS_COMPLETE=zsh_source backworks)"
  fish  _BACKWORKS_COMPLETE=fish_source backworks | source
"""


@click.group(cls=ReportingGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="backworks")
def main() -> None:
    """Run compiled plugins: make them, look at them, call them, serve them over HTTP.

    A plugin is a shared library (.so, .dylib, .dll) in C, C++, Rust, Go, Zig or another language, made with the C
    header or one of the kits that `backworks sdk path` finds. A configuration is a YAML file that names plugins and
    their endpoints.
    """


for _command in (serve, config, plugin, sdk):
    main.add_command(_command)
