"""Gathers 2,600 spoken words of ten kinds by 236 speakers (Speech Commands, CC-BY-4.0) from a public repository.

    python datasets/spoken_commands/prepare.py data/spoken_commands                    fetches
    python datasets/spoken_commands/prepare.py data/spoken_commands --from FOLDER      from a copy of the prepared files

`places.csv` names every word: class, speaker, repository, path, commit, hash. Splits share no speaker. All of these
speakers belong to the test split of the corpus (Warden, 2018, arXiv:1804.03209), so the splits are this recipe's own.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from gather import main

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], HERE / "places.csv"))
