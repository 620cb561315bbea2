"""``backworks plugin test``."""

from __future__ import annotations

import json
import os
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
from backworks.cli.project import subject
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
        raise click.BadParameter(f"{value!r} is not a valid regular expression: {error}", ctx, parameter) from None


def _calls(ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Request, ...]:
    from backworks.authoring.conformance.requests import parse

    try:
        return tuple(map(parse, values))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


@click.command(epilog=_EXAMPLES)
@click.argument("file", type=click.Path(), required=False)
@click.option("--list", "list_", is_flag=True, help="List the tests without running them.")
@click.option("--only", metavar="REGEX", callback=_only, help="Run only the tests whose name or group matches.")
@config_option
@click.option(
    "--call", "calls", metavar="'METHOD ENDPOINT [DATA]'", multiple=True, callback=_calls,
    help="A call that the plugin answers, so that the tests reach more of it. Can be repeated.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), help="Reuse the random data of an earlier run.")
@click.option("--timeout", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Seconds for each test.")
@click.option("--valgrind", is_flag=True, help="Run under valgrind; its memory errors are failures. Slow.")
@click.option("--junit", metavar="FILE", type=click.Path(dir_okay=False), help="Also write the report as JUnit XML.")
@json_option
@click.pass_context
def test(
    ctx: click.Context,
    file: str | None,
    list_: bool,
    only: re.Pattern[str] | None,
    config: dict[str, Any] | None,
    calls: tuple[Request, ...],
    seed: int | None,
    timeout: float,
    valgrind: bool,
    junit: str | None,
    as_json: bool,
) -> None:
    """Test a plugin against the contract of backworks_plugin.h.

    Without FILE, tests the plugin of the backworks.yaml in the current directory, with its configuration there.

    Each test runs in its own process with nothing but the plugin in it. A test passes, fails, crashes, times out,
    warns, or is skipped with a reason. For each test that did not pass, the report shows the call, the result, what is
    accepted, and the sentence of the header. The exit code is 1 if the plugin breaks the contract; warnings alone
    leave it 0.
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
            print_table(("GROUP", "TEST", "CONTRACT"), rows)
        return
    if not checks:
        raise click.UsageError("--only matches no test: see their names and groups with --list")
    if valgrind and not tool.is_installed():
        raise click.UsageError("--valgrind needs valgrind, which is not installed (it runs on Linux)")
    chosen = subject(file, config)
    library = resolve_library(chosen.file)
    if junit is not None:
        try:
            Path(junit).touch()
        except OSError as error:
            raise click.UsageError(f"--junit: cannot write {junit}: {error.strerror or error}") from None
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    options = Options(json.dumps(chosen.config), calls, seed, timeout, valgrind)
    progress = _Progress(len(checks))
    try:
        results = run(library, checks, options, progress.update)
    except OSError as error:
        complain([f"{library}: cannot run the tests: {error}"])
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
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=color)  # see no-color.org


def _again(file: str | None, seed: int) -> str:
    """Returns the command that repeats one test, with {} in place of its name."""
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
    quote = '"' if sys.platform == "win32" else "'"  # always quoted: cmd treats ^ as an escape
    only = f"{quote}^<name>${quote}"
    named = "" if file is None else f" {as_typed([file])}"
    command = f"backworks plugin test{named} --only {only} --seed {seed}{rest}"
    return command.replace("{", "{{").replace("}", "}}").replace("<name>", "{}")


class _Progress:
    """Shows on one line of a terminal how many tests are done."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._shown = sys.stderr.isatty()

    def update(self, result: Any) -> None:
        self._done += 1
        if self._shown:
            click.echo(f"\r\x1b[K{self._done}/{self._total} {result.id}", nl=False, err=True)

    def clear(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
