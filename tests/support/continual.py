"""Shared by the tests of continual."""

import json

from audiodiff.data import scan_folder
from audiodiff.utils.config import shipped_path

CLIPS = shipped_path("datasets/clips/speech")


def manifest(path):
    lines = [{"path": str(r.path), "n_samples": r.n_samples, "sample_rate": r.sample_rate} for r in scan_folder(CLIPS)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
