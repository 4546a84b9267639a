"""Sounds that are served are never written while somebody fetches them.

Gradio names a file by what it holds, and writes it anew whenever the same sound is made again: a visitor who was still
fetching it got a piece, once in 500 answers with twenty visitors. Here it is written beside, and renamed.
"""

import functools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gradio import processing_utils


def beside(write: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that writes a sound (rate in Hz, samples, file name) write it under another name, and renames."""

    @functools.wraps(write)
    def written(sample_rate: int, data: Any, filename: str, **options: Any) -> None:
        with tempfile.TemporaryDirectory(dir=Path(filename).parent) as folder:
            temporary = str(Path(folder) / Path(filename).name)
            write(sample_rate, data, temporary, **options)
            os.replace(temporary, filename)

    return written


if not hasattr(processing_utils.audio_to_file, "__wrapped__"):
    processing_utils.audio_to_file = beside(processing_utils.audio_to_file)  # ty: ignore[invalid-assignment]
