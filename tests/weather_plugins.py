"""The two weather plugins of ``examples/``, built once per run, and short ways to ask them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from conftest import LIBRARY, missing

import backworks

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

#: Where `make plugins` has cargo put what it builds: the crates need not be compiled again.
_CARGO = ROOT / "build" / "cargo"

LANGUAGES = ("c", "rust")


@cache
def library(language: str) -> Path:
    """Builds a plugin as its README says, and returns the library."""
    source = EXAMPLES / f"weather_plugin_{language}"
    if language == "c":
        if shutil.which("make") is None:
            missing("GNU make")
        out = ROOT / "build" / "tests"
        subprocess.run(["make", "--silent", "-C", str(source), f"OUT={out.as_posix()}"], check=True)
        return out / LIBRARY.format("weather_c")
    if shutil.which("cargo") is None:
        missing("Rust's cargo")
    manifest = ["--manifest-path", str(source / "Cargo.toml")]
    if subprocess.run(["cargo", "fetch", "--quiet", "--locked", *manifest], check=False).returncode:
        missing("what cargo fetches")
    environment = os.environ | {"CARGO_TARGET_DIR": str(_CARGO), "CARGO_NET_OFFLINE": "true"}
    subprocess.run(["cargo", "build", "--quiet", "--release", *manifest], env=environment, check=True)
    return _CARGO / "release" / LIBRARY.format("weather_rust")


def load(language: str, reports: Path | None = None, **config: object) -> backworks.Plugin:
    """Loads a plugin into this process, with a file of reports or without."""
    config |= {} if reports is None else {"reports": str(reports)}
    return backworks.load(library(language), config, isolation="none")


def ask(
    plugin: backworks.Plugin, method: str, data: str | bytes = "", endpoint: str = "/api/weather"
) -> bytes | tuple[str, str] | None:
    """Returns the plugin's answer as it is, or the name of the code and the message of its refusal."""
    try:
        return plugin.process_endpoint_data(endpoint, method, data, as_bytes=True)
    except backworks.PluginError as error:
        return error.code.name, error.message


def request(method: str = "GET", body: object = None, query: dict[str, object] | None = None, **params: str) -> str:
    """Returns the JSON that the host makes of an HTTP request."""
    path = "/".join(["/mounted/anywhere", *params.values()])
    members = {"method": method, "path": path, "path_params": params, "query": query or {}, "headers": {}, "body": body}
    return json.dumps(members)


def decode(plugin: backworks.Plugin, report: str) -> dict[str, Any]:
    """Returns the decoded report."""
    answer = ask(plugin, "POST", report)
    assert isinstance(answer, bytes), answer
    decoded: dict[str, Any] = json.loads(answer)
    return decoded
