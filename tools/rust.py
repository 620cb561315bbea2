"""Builds, tests and checks what is written in Rust: ``python tools/rust.py build|test|check``. Run by ``make``.

Where cargo is not there or cannot fetch the crates, it says so and leaves Rust out; with CI=true that is a failure.
An error of the compiler, of a test or of a lint is always one.
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
    """Runs cargo with its output under build/, and returns its exit code."""
    command, *options = arguments
    environment = os.environ | {"CARGO_TARGET_DIR": str(TARGET)}
    if offline:
        environment["CARGO_NET_OFFLINE"] = "true"
    line = ["cargo", command, "--quiet", "--manifest-path", str(manifest), *options]
    return subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


def missing() -> str | None:
    """Returns why Rust cannot be built here, or ``None``. Fetches the crates, so that nothing later needs the net."""
    if shutil.which("cargo") is None:
        return "cargo is not installed (https://rustup.rs)"
    if any(cargo("fetch", manifest=manifest, offline=False) for manifest in (SDK, EXAMPLE)):
        return "cargo cannot fetch the crates; its own words are above"
    return None


def build() -> bool:
    """Builds the example into build/plugins."""
    if cargo("build", "--release", manifest=EXAMPLE):
        return False
    PLUGINS.mkdir(parents=True, exist_ok=True)
    library = LIBRARIES[sys.platform]
    # Put in place by renaming: a host that has the old file open must not see it change.
    shutil.copy2(TARGET / "release" / library, PLUGINS / f"{library}.new")
    (PLUGINS / f"{library}.new").replace(PLUGINS / library)
    return True


def test() -> bool:
    """Runs the tests of the SDK and of the example."""
    return not any(cargo("test", manifest=manifest) for manifest in (SDK, EXAMPLE))


def check() -> bool:
    """Checks the format and every lint of the SDK and of the example."""
    return not any(
        cargo("fmt", "--check", manifest=manifest)
        or cargo("clippy", "--all-targets", "--", "--deny", "warnings", manifest=manifest)
        for manifest in (SDK, EXAMPLE)
    )


def main(arguments: list[str]) -> int:
    """Does what the one argument says; returns the exit code."""
    verbs = {"build": build, "test": test, "check": check}
    if len(arguments) != 1 or arguments[0] not in verbs:
        print(f"usage: python tools/rust.py {'|'.join(verbs)}", file=sys.stderr)
        return 2
    if reason := missing():
        print(f"make: Rust is left out of `{arguments[0]}`: {reason}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    return 0 if verbs[arguments[0]]() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
