"""Lists recordings of voices that the default set does not have, a few of each, to see what weights make of them.

    python datasets/debian_speech/prepare.py data/debian_speech_all --all
    python demos/other_voices.py data/debian_speech_all
    audiodiff eval speech-16k data/debian_speech_all/others.jsonl --clips 32

Words and sentences of children's programs and a game, of many languages, rooms and microphones (GPL; see LICENCES.md of
the data set): `speech-16k` never heard any of them.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

from audiodiff.audio import atomic_file

PACKAGES = ("fillets", "klettres", "ktuberling", "tuxpaint")
SHORTEST = 2.0  # seconds
FEWEST = 16  # long enough recordings of a voice that counts


def main() -> None:
    """Writes FOLDER/others.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=2, help="recordings of each voice (2)")
    options = parser.parse_args()
    voices = defaultdict(list)
    for line in (options.folder / "train.jsonl").read_text(encoding="utf-8").splitlines():
        recording = json.loads(line)
        known = recording["package"].startswith(PACKAGES)
        if known and recording["n_samples"] >= SHORTEST * recording["sample_rate"]:
            voices[recording["speaker"]].append(line)
    chosen = []
    for _, lines in sorted(voices.items()):
        if len(lines) >= FEWEST:
            chosen += lines[:: len(lines) // options.each][: options.each]
    with atomic_file(options.folder / "others.jsonl") as file:
        file.write("".join(f"{line}\n" for line in chosen).encode())
    print(f"{len(chosen)} recordings")


if __name__ == "__main__":
    main()
