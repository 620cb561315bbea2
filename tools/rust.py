"""Builds, tests and checks the Rust code: ``python tools/rust.py build|test|check``. Run by ``make``.

If cargo is not installed or cannot fetch the crates, a message says that Rust is skipped; with CI=true that is a
failure. An error from the compiler, a test or a lint is always a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SDK = ROOT / "sdk" / "rust" / "Cargo.toml"
EXAMPLE = ROOT / "examples" / "weather_plugin_rust" / "Cargo.toml"
TARGET = ROOT / "build" / "cargo"
PLUGINS = ROOT / "build" / "plugins"
LIBRARIES = {"linux": "libweather_rust.so", "darwin": "libweather_rust.dylib", "win32": "weather_rust.dll"}


def cargo(*arguments: str, manifest: Path, offline: bool = True) -> int:
    """Runs cargo with its target directory under build/; returns its exit code."""
    command, *options = arguments
    environment = os.environ | {"CARGO_TARGET_DIR": str(TARGET)}
    if offline:
        environment["CARGO_NET_OFFLINE"] = "true"
    line = ["cargo", command, "--quiet", "--manifest-path", str(manifest), *options]
    return subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


def missing() -> str | None:
    """Fetches the crates, so that later steps work offline; returns why Rust cannot be built here, or ``None``."""
    if shutil.which("cargo") is None:
        return "cargo is not installed (https://rustup.rs)"
    if any(cargo("fetch", manifest=manifest, offline=False) for manifest in (SDK, EXAMPLE)):
        return "cargo cannot fetch the crates; see its output above"
    return None


def build() -> bool:
    """Builds the example into build/plugins."""
    if cargo("build", "--release", manifest=EXAMPLE):
        return False
    PLUGINS.mkdir(parents=True, exist_ok=True)
    library = LIBRARIES[sys.platform]
    # Renamed into place, because a host may have the old file open.
    shutil.copy2(TARGET / "release" / library, PLUGINS / f"{library}.new")
    (PLUGINS / f"{library}.new").replace(PLUGINS / library)
    return True


def test() -> bool:
    """Runs the tests of the SDK and the example."""
    return not any(cargo("test", manifest=manifest) for manifest in (SDK, EXAMPLE))


def check() -> bool:
    """Checks the formatting and lints of the SDK and the example."""
    return not any(
        cargo("fmt", "--check", manifest=manifest)
        or cargo("clippy", "--all-targets", "--", "--deny", "warnings", manifest=manifest)
        for manifest in (SDK, EXAMPLE)
    )


def main(arguments: list[str]) -> int:
    """Runs the command in the argument; returns the exit code."""
    verbs = {"build": build, "test": test, "check": check}
    if len(arguments) != 1 or arguments[0] not in verbs:
        print(f"usage: python tools/rust.py {'|'.join(verbs)}", file=sys.stderr)
        return 2
    if reason := missing():
        print(f"make: skipping Rust in `{arguments[0]}`: {reason}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    return 0 if verbs[arguments[0]]() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
