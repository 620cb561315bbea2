"""What Backworks costs, beside what others cost in the same run; see README.md.

These modules run in an environment of their own, which has Backworks installed as a user has it.
"""

import sys
from pathlib import Path

#: The checkout.
ROOT = Path(__file__).resolve().parent.parent
#: What is made for the benchmarks: the environment, the peers, and what a quick run has found.
BUILD = ROOT / "build" / "bench"
ENVIRONMENT = BUILD / "venv"
#: The compiled peers and plugins.
PEERS = BUILD / "peers"
#: What is kept in the repository.
RESULTS = ROOT / "benchmarks" / "results"

if Path(sys.prefix) == ENVIRONMENT:
    # `python -m` puts the checkout first, whose `backworks` has no compiled binding: the installed one is measured.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
