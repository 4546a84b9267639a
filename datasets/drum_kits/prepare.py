"""Gathers 2,051 drum sounds of 73 kits, of nine classes, from public repositories: CC0, public domain, CC-BY.

    python datasets/drum_kits/prepare.py data/drum_kits                    fetches
    python datasets/drum_kits/prepare.py data/drum_kits --from FOLDER      from a copy of the prepared files

`places.csv` names every sound: class, kit, maker, licence, author, repository, path, commit, hash. Whole makers are
held out: no maker is in two splits.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from gather import main

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], HERE / "places.csv"))
