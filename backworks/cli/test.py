"""``backworks plugin test``."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backworks.cli.exits import CANNOT_LOAD, PLUGIN_FAILED, complain
from backworks.cli.options import config_option
from backworks.cli.output import json_option, print_json, print_table
from backworks.system import as_typed

if TYPE_CHECKING:
    from backworks.authoring.conformance.requests import Request

__all__ = ["test"]

_SEEDS = 1_000_000

_EXAMPLES = """
\b
Examples:
  backworks plugin test build/libweather.so
  backworks plugin test build/libweather.so --only 'memory|threads' --seed 7
  backworks plugin test build/libweather.so --config @config.json --call 'GET /api/weather/KJFK'
"""


def _only(ctx: click.Context, parameter: click.Parameter, value: str | None) -> re.Pattern[str] | None:
    try:
        return None if value is None else re.compile(value)
    except re.error as error:
        raise click.BadParameter(f"{value!r} is no regular expression: {error}", ctx, parameter) from None


def _calls(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Request, ...]:
    from backworks.authoring.conformance.requests import parse

    try:
        return tuple(map(parse, values))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


@click.command(epilog=_EXAMPLES)
@click.argument("file", type=click.Path(), required=False)
@click.option("--list", "list_", is_flag=True, help="List the tests and run none.")
@click.option("--only", metavar="REGEX", callback=_only, help="Run the tests whose name or group has a match.")
@config_option
@click.option(
    "--call", "calls", metavar="'METHOD ENDPOINT [DATA]'", multiple=True, callback=_calls,
    help="A call that the plugin answers, so that more of it is tried. May be given again.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), help="Repeat the random data of an earlier run.")
@click.option("--timeout", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Seconds for each test.")
@click.option("--valgrind", is_flag=True, help="Run under valgrind; memory errors of the plugin are failures. Slow.")
@click.option(
    "--junit", metavar="FILE", type=click.Path(dir_okay=False), help="Write the report as JUnit's XML as well."
)
@json_option
@click.pass_context
def test(
    ctx: click.Context,
    file: str | None,
    list_: bool,
    only: re.Pattern[str] | None,
    config: dict[str, Any],
    calls: tuple[Request, ...],
    seed: int | None,
    timeout: float,
    valgrind: bool,
    junit: str | None,
    as_json: bool,
) -> None:
    """Test whether a plugin keeps the contract of backworks_plugin.h.

    Each test runs in a process of its own, with nothing but the plugin in it: it passes, fails, crashes, runs out of
    time, warns, or is skipped with a reason. What did not pass is shown with what was called, what came back, what is
    accepted, and the words of the header. The exit code is 1 if the plugin does not keep the contract, and 0 with
    warnings.
    """
    from backworks.authoring.conformance import report
    from backworks.authoring.conformance import valgrind as tool
    from backworks.authoring.conformance.catalogue import catalogue
    from backworks.authoring.conformance.results import BAD
    from backworks.authoring.conformance.runner import Options, run
    from backworks.loading.paths import resolve_library

    checks = [
        check for check in catalogue().values() if only is None or only.search(check.id) or only.search(check.group)
    ]
    if list_:
        wanted = {check.id for check in checks}
        rows = [row for row in report.listing() if row[1] in wanted]
        if as_json:
            print_json([dict(zip(("group", "id", "holds"), row, strict=True)) for row in rows])
        else:
            print_table(("GROUP", "TEST", "WHAT IT HOLDS"), rows)
        return
    if file is None:
        raise click.UsageError("FILE is missing: name the plugin's library, or use --list")
    if not checks:
        raise click.UsageError("--only matches no test: --list shows their names and groups")
    if valgrind and not tool.is_installed():
        raise click.UsageError("--valgrind needs the program valgrind, which is not installed (it is for Linux)")
    library = resolve_library(file)
    if junit is not None:
        try:
            Path(junit).touch()
        except OSError as error:
            raise click.UsageError(f"--junit: {junit} cannot be written: {error.strerror or error}") from None
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    options = Options(json.dumps(config), calls, seed, timeout, valgrind)
    progress = _Progress(len(checks))
    try:
        results = run(library, checks, options, progress.tell)
    except OSError as error:
        complain([f"{library}: cannot be tested: {error}"])
        ctx.exit(CANNOT_LOAD)
    finally:
        progress.clear()
    if junit is not None:
        Path(junit).write_bytes(report.junit(str(library), results, seed))
    if as_json:
        print_json(report.as_json(str(library), results, seed))
    else:
        width = shutil.get_terminal_size((100, 24)).columns
        for line in report.lines(results, _again(file, seed), width, _style):
            click.echo(line)
        click.echo(f"{library.name}, seed {seed}. {report.summary(results)}")
    if any(result.status in BAD for result in results):
        ctx.exit(PLUGIN_FAILED)


def _style(text: str, color: str) -> str:
    return click.style(text, fg=color)


def _again(file: str, seed: int) -> str:
    """Returns the command that repeats one test, with {} for its name."""
    skip = 0
    kept = []
    for argument in sys.argv[3:]:
        if skip:
            skip -= 1
        elif argument in ("--only", "--seed", "--junit"):
            skip = 1
        elif argument != file and argument != "--json" and not argument.startswith(("--only=", "--seed=", "--junit=")):
            kept.append(argument)
    rest = f" {as_typed(kept)}" if kept else ""
    quote = '"' if sys.platform == "win32" else "'"  # also where nothing else asks for it: ^ is a sign of cmd's
    only = f"{quote}^<name>${quote}"
    command = f"backworks plugin test {as_typed([file])} --only {only} --seed {seed}{rest}"
    return command.replace("{", "{{").replace("}", "}}").replace("<name>", "{}")


class _Progress:
    """One line on a terminal that tells how far it is."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._shown = sys.stderr.isatty()

    def tell(self, result: Any) -> None:
        self._done += 1
        if self._shown:
            click.echo(f"\r\x1b[K{self._done}/{self._total} {result.id}", nl=False, err=True)

    def clear(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
