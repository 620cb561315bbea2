"""Makes .venv: the project, editable, and the tools of its developers. Run by ``make env``.

Any Python 3.6 or newer can run it as far as the sentence that says why it will not do.
"""

import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

WANTED = (3, 11)


def main() -> None:
    """Makes the environment, or ends with one sentence that says what is missing and what to do."""
    if sys.version_info < WANTED:
        sys.exit(
            f"make: Backworks needs Python 3.11 or newer, and {sys.executable} is Python {sys.version.split()[0]}. "
            "Install a newer one, or name one: make PYTHON=python3.12"
        )
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        sys.exit(
            f"make: {sys.executable} cannot make an environment, because its modules venv and ensurepip are not "
            "installed. On Debian and Ubuntu: apt install python3-venv"
        )
    made_by = Path(".venv") / "pyvenv.cfg"
    # An environment that another Python has made is not used, but made anew: the two do not mix.
    mixes = made_by.exists() and f"version = {platform.python_version()}\n" not in made_by.read_text()
    clear = ["--clear"] if mixes else []
    python = str(Path(".venv") / ("Scripts" if os.name == "nt" else "bin") / "python")
    if mixes or not made_by.exists():
        print("Making .venv with the project and its tools: a minute or two, once.", flush=True)
    try:
        subprocess.check_call([sys.executable, "-m", "venv", *clear, ".venv"])
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.check_call([*pip, "pip>=25.1"])  # the first that knows --group
        subprocess.check_call([*pip, "--editable", ".", "--group", "dev"])
    except subprocess.CalledProcessError as error:
        sys.exit(f"make: the environment is not complete: {' '.join(error.cmd)} failed; see above")


if __name__ == "__main__":
    main()
