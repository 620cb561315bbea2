"""``python -m backworks.authoring.conformance.single FILE``: one check in a process that was not forked off.

For what has to be there before Python is, such as valgrind, and for systems where processes cannot be forked off.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from backworks.authoring.conformance.child import Task, execute

if __name__ == "__main__":
    execute(Task(**json.loads(Path(sys.argv[1]).read_text("utf-8"))), dies_with_parent=False)
