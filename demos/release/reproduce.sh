#!/usr/bin/env bash
# Prints the table of the shipped weights: fetches the recordings from Debian packages, measures on the unseen speaker.
#     bash demos/release/reproduce.sh [CLIPS]
set -euo pipefail
cd "$(dirname "$0")/../.."
python3 -m venv .venv
.venv/bin/pip install -q -c constraints.txt '.[datasets,eval]'
[ -e data/debian_speech/test.jsonl ] || .venv/bin/python datasets/debian_speech/prepare.py data/debian_speech
.venv/bin/audiodiff eval speech-16k data/debian_speech/test.jsonl --clips "${1:-16}"
