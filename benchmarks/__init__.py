"""Measures what Backworks costs, in comparison with peers in the same run; see README.md.

These modules run in a separate environment, in which Backworks is installed as a user installs it.
"""

import sys
from pathlib import Path

#: The checkout.
ROOT = Path(__file__).resolve().parent.parent
#: The files that the benchmarks create: the environment, the peers, and the results of quick runs.
BUILD = ROOT / "build" / "bench"
ENVIRONMENT = BUILD / "venv"
#: The compiled peers and plugins.
PEERS = BUILD / "peers"
#: The results that are kept in the repository.
RESULTS = ROOT / "benchmarks" / "results"

if Path(sys.prefix) == ENVIRONMENT:
    # `python -m` puts the checkout first, whose `backworks` has no compiled binding. Measure the installed package.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
