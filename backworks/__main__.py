"""``python -m backworks``: the command ``backworks``."""

from backworks.cli import main

if __name__ == "__main__":
    main(prog_name="backworks")
