"""``python -m backworks.authoring.conformance.single FILE``: runs one check in a process that is not forked.

Used for tools that must start before Python, such as valgrind, and on systems without a usable fork.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from backworks.authoring.conformance.child import Task, execute

if __name__ == "__main__":
    execute(Task(**json.loads(Path(sys.argv[1]).read_text("utf-8"))), dies_with_parent=False)
