"""Creates .venv with an editable install of the project and the development tools. Run by ``make env``.

Any Python from 3.6 on can run it far enough to print why that version is too old.
"""

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

WANTED = (3, 11)


def main() -> None:
    """Creates the environment, or exits with a message that says what is missing and what to do."""
    if sys.version_info < WANTED:
        sys.exit(
            f"make: Backworks needs Python 3.11 or newer, but {sys.executable} is Python {sys.version.split()[0]}. "
            "Install a newer one, or select one: make PYTHON=python3.12"
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        sys.exit(
            f"make: {sys.executable} cannot create an environment, because its modules venv and ensurepip are not "
            "installed. On Debian and Ubuntu: apt install python3-venv"
        )
    config = Path(".venv") / "pyvenv.cfg"
    # An environment of another Python is recreated, because the two cannot share one.
    mixes = config.exists() and f"version = {platform.python_version()}\n" not in config.read_text()
    clear = ["--clear"] if mixes else []
    python = str(Path(".venv") / ("Scripts" if os.name == "nt" else "bin") / "python")
    if mixes or not config.exists():
        print("Creating .venv with the project and its tools; this takes a minute or two, only once.", flush=True)
    try:
        subprocess.check_call([sys.executable, "-m", "venv", *clear, ".venv"])
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.check_call([*pip, "pip>=25.1"])  # the first version with --group
        subprocess.check_call([*pip, "--editable", ".", "--group", "dev"])
    except subprocess.CalledProcessError as error:
        sys.exit(f"make: the environment is incomplete: {' '.join(error.cmd)} failed; see its output above")


if __name__ == "__main__":
    main()
