"""Packed corpora: `train`, `valid` and `about`, each a data set of litdata whose items are bytes.

An index with other items, such as litdata's pickled objects, is refused before an item is read.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from litdata import StreamingDataset

from audiodiff import audio
from audiodiff.data.manifest import Recording

SAMPLE = 200  # pieces for measurements
BYTES = '[1, {"type": null, "context": null, "children_spec": []}]'  # litdata's spec of plain items


class Corpus:
    """Open a corpus that `audiodiff shard` packed.

    Args:
        address: Folder, or an address of litdata (s3://…, gs://…, azure://…, hf://…, local:FOLDER).
        cache: Folder of fetched chunks.
        cache_gb: Largest size of the cache, 10⁹ bytes.

    Raises:
        ValueError: The corpus is missing, holds other items, or cannot be fetched.
    """

    def __init__(self, address: str, cache: str | Path = "data/cache", cache_gb: float = 25.0) -> None:
        self.address, self.cache, self.cache_gb = address.rstrip("/"), Path(cache), cache_gb
        about = self.open("about")
        self.facts: dict[str, Any] = json.loads(self.item(about, 0))
        self.numbers: list[int] = json.loads(self.item(about, 1))  # class of each piece, -1 for none
        self._folder = tempfile.mkdtemp(prefix="audiodiff-corpus-")

    def __del__(self) -> None:
        """Remove the unpacked files."""
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)

    def __len__(self) -> int:
        """Return the number of pieces."""
        return self.facts["pieces"]

    def place(self, part: str) -> dict[str, Any]:
        """Return the place of a part of the corpus, as arguments of litdata's data sets."""
        settings = {"cache_dir": str(self.cache / part), "max_cache_size": int(self.cache_gb * 1e9), "batch_decode": 0}
        return {"input_dir": f"{self.address}/{part}", **settings}

    def open(self, part: str) -> StreamingDataset:
        """Open a part of the corpus."""
        with readable(f"{self.address}/{part}", "make it by `audiodiff shard`, or see whether it may be read"):
            data = StreamingDataset(**self.place(part))
            check_bytes(data)
            return data

    def item(self, data: StreamingDataset, number: int) -> bytes:
        """Read one item."""
        with readable(f"{self.address}, item {number}", "copy the corpus again"):
            return bytes(data[number])

    def check_onsets(self, n_samples: int, sample_rate: int) -> None:
        """Raise ValueError if recordings were cut into pieces shorter than clips of n_samples."""
        longest = self.facts["seconds"]
        if self.facts["cut"] and longest * sample_rate < n_samples:
            raise ValueError(
                f"{self.address}: recordings were cut after at most {longest:g} s, clips are "
                f"{n_samples / sample_rate:g} s long; pack again with a larger --seconds"
            )

    def validation(self) -> list[Recording]:
        """Unpack the held-out recordings, as files that last as long as this object."""
        labels = self.facts["valid_labels"]
        return [r._replace(label=labels[n]) for n, r in enumerate(self._unpacked("valid", len(labels)))]

    def sample(self, most: int = SAMPLE) -> list[Recording]:
        """Unpack the first pieces, a random sample, as files for measurements."""
        return self._unpacked("train", min(most, len(self)))

    def _unpacked(self, part: str, count: int) -> list[Recording]:
        data, recordings = self.open(part), []
        for number in range(count):
            path = Path(self._folder, f"{part}-{number:04d}.flac")
            path.write_bytes(self.item(data, number))
            with contextlib.suppress(ValueError), audio.opened(path) as file:  # training logs it
                recordings.append(Recording(path, file.n_samples, file.sample_rate))
        return recordings


def index_of(data: StreamingDataset) -> dict[str, Any]:
    """Read the index of a data set."""
    return json.loads(Path(str(data.input_dir.path), "index.json").read_text(encoding="utf-8"))


def check_bytes(data: StreamingDataset) -> None:
    """Raise ValueError unless all items are bytes: litdata would unpickle some other kinds."""
    config = index_of(data)["config"]
    if config["data_format"] != ["bytes"] or config["data_spec"] != BYTES or config["compression"]:
        place = data.input_dir.url or data.input_dir.path
        raise ValueError(f"{place}: holds other items than bytes; give what `audiodiff shard` made")


@contextlib.contextmanager
def readable(place: str, remedy: str, damaged: Callable[[], str] = str) -> Generator[None]:
    """Turn any error of litdata and of the clouds' libraries, which have no common base, into one line."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{damaged() or f'{place}: cannot be read ({reason})'}; {remedy}") from None
