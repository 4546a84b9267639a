"""Data that change during a run: replayed old recordings, and a folder that fills."""

import contextlib
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from audiodiff import audio
from audiodiff.data.augment.chain import Augment
from audiodiff.data.crops import Crops
from audiodiff.data.folders import audio_files
from audiodiff.data.manifest import Recording


class Replay(Dataset[Tensor]):
    """Mix clips of old recordings among new ones, as a function of seed and clip number.

    Args:
        new, old: Clips by number.
        share: Share of old clips.
        seed: Seed of the choice.

    Raises:
        ValueError: share is not in [0, 1].
    """

    def __init__(self, new: Any, old: Any, share: float, seed: int = 0) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"data.replay.share={share} is not in [0, 1]")
        self.new, self.old, self.share, self.seed = new, old, share, seed

    def __getitem__(self, number: int) -> Any:
        """Return clip `number`."""
        return self._of(number)[number]

    def sources(self, number: int) -> list[Path]:
        """List the files of clip `number`."""
        return self._of(number).sources(number)

    def _of(self, number: int) -> Any:
        return self.old if random.Random(f"replay/{self.seed}/{number}").random() < self.share else self.new


class WatchedFolder(Dataset[Tensor]):
    """Provide clips of a folder that fills while it is read.

    Clip numbers form blocks. The first loader or process that needs a clip of a block lists the folder and writes the
    list beside the run, where all others, and a resumed run, read it.

    Args:
        folder: The folder, listed anew for each block.
        journal: Folder of the run for the lists, one file a block.
        n_samples, sample_rate, seed, augment, max_bad: As for `Crops`.
        block: Clips in a block.
        settled: Seconds since a file's last change; younger ones may be half-written and are ignored.
        patience: Seconds to wait for the first file.

    Raises:
        ValueError: The folder is missing.
    """

    def __init__(
        self,
        folder: str | Path,
        journal: str | Path,
        n_samples: int,
        sample_rate: int,
        seed: int = 0,
        augment: Augment | None = None,
        max_bad: float = 1.0,
        block: int = 256,
        settled: float = 2.0,
        patience: float = 60.0,
    ) -> None:
        self.folder, self.journal = Path(folder), Path(journal)
        if not self.folder.is_dir():
            raise ValueError(f"{folder}: no such folder; give data.path=FOLDER, it may still be empty")
        self.settings = (n_samples, sample_rate, seed, augment, max_bad)
        self.block, self.settled, self.patience = block, settled, patience
        self._clips: tuple[int, Crops] | None = None

    def __getitem__(self, number: int) -> Tensor:
        """Cut clip `number`: [1, n_samples]."""
        return self._of(number)[number]

    def sources(self, number: int) -> list[Path]:
        """List the files of clip `number`."""
        return self._of(number).sources(number)

    def files(self, block: int) -> list[Recording]:
        """Return the files of a block; list them if no process has."""
        path = self.journal / f"block-{block:06d}.json"
        if not path.is_file():
            self._write_list(path)
        return [Recording(Path(p), n, rate) for p, n, rate in json.loads(path.read_text(encoding="utf-8"))]

    def _of(self, number: int) -> Crops:
        block = number // self.block
        if self._clips is None or self._clips[0] != block:
            self._clips = (block, Crops(self.files(block), *self.settings))
        return self._clips[1]

    def _write_list(self, path: Path) -> None:
        """Write a block's list, unless another process is faster."""
        recordings, end = self._settled(), time.monotonic() + self.patience
        while not recordings:
            if time.monotonic() > end:
                raise ValueError(f"{self.folder}: holds no readable audio after {self.patience:g} s of waiting")
            time.sleep(0.2)
            recordings = self._settled()
        self.journal.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.journal)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump([(str(r.path), r.n_samples, r.sample_rate) for r in recordings], file)
        try:
            os.link(temporary, path)  # fails if it exists, unlike a rename
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links, such as FAT
            if not path.exists():
                os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def _settled(self) -> list[Recording]:
        """List the readable files that have not changed for `settled` seconds."""
        recordings = []
        for path in audio_files(self.folder):
            with contextlib.suppress(ValueError, OSError):  # half-written, or removed
                if time.time() - path.stat().st_mtime < self.settled:
                    continue
                with audio.opened(path) as sound:
                    if sound.n_samples:
                        recordings.append(Recording(path.absolute(), sound.n_samples, sound.sample_rate))
        return recordings
