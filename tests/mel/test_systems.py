"""The table of acoustic models in the guide is that of conf/mel/systems.csv."""

import importlib.util

from audiodiff.utils.config import shipped_path


def test_guide_has_the_table_of_systems():
    path = shipped_path("demos/docs/mel_table.py")
    module_spec = importlib.util.spec_from_file_location("mel_table", path)
    mel_table = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(mel_table)
    page = shipped_path(mel_table.PAGE).read_text(encoding="utf-8")
    assert mel_table.with_table(page) == page, "run: python demos/docs/mel_table.py"
    assert "| `cosyvoice2` | 24 kHz, 480, 80 | `speech-24k-hop480` |" in page
    assert "| `hifigan` | 22.05 kHz, 256, 80 | `speech-22k` |" in page
