"""Recordings of a run, and loaders that resume where the run stopped."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch.utils.data import DataLoader, Dataset

from audiodiff.data.crops import Crops, ResumableSampler, clip_loader
from audiodiff.data.folders import scan_folder
from audiodiff.data.manifest import Recording, read_manifest
from audiodiff.data.one_shots import OneShots, labels_of
from audiodiff.data.recordings import check_source, held_out
from audiodiff.data.replay import Replay, WatchedFolder
from audiodiff.data.sources import Files
from audiodiff.utils.config import build

if TYPE_CHECKING:
    from audiodiff.data.shards.corpus import Corpus
    from audiodiff.data.shards.streaming import StreamLoader

ANY = "any"  # the class of sounds without labels


class ClipLoaders(lightning.LightningDataModule):
    """Build the loaders of a run, from the step at which the trainer stands.

    Args:
        data: The section `data` of the configuration.
        training, validation: Recordings, or a packed corpus.
        sample_rate: Hz.
        labels: Classes of a generator; empty for crops and for generators conditioned by vectors alone.
        steps: Steps of the whole run.
        seed: Seed of the clips.
        replay: `manifest` and `share` of replayed old recordings, or None.
        run_dir: Folder of the lists of a watched folder.
    """

    def __init__(
        self,
        data: dict[str, Any],
        training: "list[Recording] | Corpus",
        validation: list[Recording],
        sample_rate: int,
        labels: list[str],
        steps: int,
        seed: int,
        replay: dict[str, Any] | None,
        run_dir: Path,
    ) -> None:
        super().__init__()
        self.data, self.steps, self.seed, n = data, steps, seed, data["n_samples"]
        self.stream: StreamLoader | None = None
        settings = {"seed": seed, "augment": build(data["augment"]), "max_bad": data["max_bad"]}
        old = Crops(read_manifest(replay["manifest"]), n, sample_rate, **settings) if replay else None
        self.corpus = None if isinstance(training, list) else training
        self.validation: Dataset[Any] = Crops(validation, n, sample_rate, seed=0)
        extra: dict[str, Any] = {}
        if data.get("one_shots"):
            if not labels and isinstance(training, list):
                labels, training, validation = [ANY], _unlabelled(training), _unlabelled(validation)
            extra = {"vector_size": vector_size_of(data), "peak_db": data.get("peak_db")}
            self.validation = OneShots(validation, labels, n, sample_rate, seed=0, all_classes=False, **extra)

        def view(source: Any) -> Any:
            if isinstance(source, list) and not data.get("watch"):
                source = Files(source, data.get("balance"), data.get("balance_power", 0.0))
            if data.get("one_shots"):
                clips: Any = OneShots(source, labels, n, sample_rate, **settings, **extra)
            elif data.get("watch"):
                clips = WatchedFolder(data["path"], run_dir / "watch", n, sample_rate, **settings, **data["watch"])
            else:
                clips = Crops(source, n, sample_rate, **settings)
            return Replay(clips, old, replay["share"], seed) if replay else clips

        if self.corpus is not None and data.get("balance"):
            raise ValueError(
                f"balance={data['balance']}: a packed corpus does not know its manifest's fields; balance=null"
            )
        if self.corpus is not None and data.get("one_shots"):
            self.corpus.check_onsets(n, sample_rate)
        self.view = view
        self.training: Dataset[Any] | None = view(training) if isinstance(training, list) else None

    def sources(self, trainer: lightning.Trainer) -> list[str]:
        """List the files of the present step's clips."""
        if self.stream is not None:
            return [str(path) for path in self.stream.sources()]
        per_step = self._per_step(trainer)
        first = trainer.global_step * per_step
        return [str(path) for number in range(first, first + per_step) for path in self.training.sources(number)]

    def train_dataloader(self) -> Any:
        """Build the loader of the remaining clips."""
        trainer, per_step = self.trainer, self._per_step(self.trainer)
        steps = max(self.steps, trainer.global_step + 1)
        if self.corpus is not None:
            self.stream = self._stream(steps * trainer.accumulate_grad_batches)
            return self.stream
        sampler = ResumableSampler(
            trainer.global_step * per_step, steps * per_step, trainer.global_rank, trainer.world_size
        )
        return clip_loader(self.training, sampler, self.data["batch_size"], self.data["n_workers"])

    def val_dataloader(self) -> DataLoader[torch.Tensor]:
        """Build the loader of the held-out clips, divided among the processes."""
        trainer, clips = self.trainer, self.data["validation_clips"]
        sampler = ResumableSampler(0, clips, trainer.global_rank, trainer.world_size)
        batch = max(1, min(self.data["batch_size"], clips // trainer.world_size))
        return clip_loader(self.validation, sampler, batch, 0)

    def _stream(self, length: int) -> "StreamLoader":
        from audiodiff.data.shards.streaming import ClipStream, StreamLoader

        batch, trainer = self.data["batch_size"], self.trainer
        clips = ClipStream(self.corpus, self.view, self.seed, batch * trainer.world_size)
        per_step = trainer.accumulate_grad_batches
        return StreamLoader(clips, batch, self.data["n_workers"], length, per_step, lambda: trainer.global_step)

    def _per_step(self, trainer: lightning.Trainer) -> int:
        return self.data["batch_size"] * trainer.world_size * trainer.accumulate_grad_batches


def vector_size_of(data: dict[str, Any]) -> int:
    """Return the size of the vectors that condition a generator; 0 for none.

    Raises:
        ValueError: `condition` is unknown, or does not agree with `vector_size`.
    """
    condition, size = data.get("condition", "label"), data.get("vector_size") or 0
    if condition not in ("label", "vector", "both"):
        raise ValueError(f"data.condition={condition}: choose label, vector or both")
    if (condition == "label") != (size == 0) or size < 0:
        wanted = "leave out data.vector_size" if condition == "label" else "give data.vector_size, the vectors' length"
        raise ValueError(f"data.condition={condition}, data.vector_size={size}: {wanted}")
    return size


def _unlabelled(recordings: list[Recording]) -> list[Recording]:
    return [recording._replace(label=ANY) for recording in recordings]


def shards_of(data: dict[str, Any]) -> "Corpus | None":
    """Open the packed corpus of a section `data`; None if it has none."""
    if not data.get("shards"):
        return None
    from audiodiff.data.shards.corpus import Corpus

    return Corpus(data["path"], data["cache"], data["cache_gb"])


def labels_for(data: dict[str, Any], training: list[Recording], corpus: "Corpus | None") -> list[str]:
    """List the classes of a section `data`: its own, or those of the recordings, sorted.

    Raises:
        ValueError: The recordings have fewer than two.
    """
    vector_size_of(data)
    if data.get("condition") == "vector":
        if corpus is not None:
            raise ValueError("data.condition=vector: a packed corpus holds no vectors; train from the manifest")
        return []
    if data.get("labels"):
        return data["labels"]
    if corpus is None:
        return labels_of(training)
    return labels_of([Recording(Path(data["path"]), 1, 1, label) for label in corpus.facts["labels"] or [None]])


def recordings_for(
    data: dict[str, Any], run_dir: Path, corpus: "Corpus | None"
) -> tuple[list[Recording], list[Recording]]:
    """List the recordings for training and for validation.

    The last 4 % of a folder by name validate; a watched folder is listed as it is at the beginning; a packed corpus
    gives a sample, whose files last as long as `corpus`.

    Raises:
        ValueError: There are none, or the configuration names none.
    """
    if data.get("watch"):
        watched = WatchedFolder(data["path"], run_dir / "watch", data["n_samples"], 1, **data["watch"])
        return watched.files(0), read_manifest(data["valid_manifest"])
    if corpus is not None:
        own = read_manifest(data["valid_manifest"]) if data.get("valid_manifest") else corpus.validation()
        return corpus.sample(), own
    if data.get("manifest"):
        return read_manifest(data["manifest"]), read_manifest(data.get("valid_manifest") or data["manifest"])
    check_source(data)
    recordings = scan_folder(data["path"], data["max_bad"])
    if data.get("valid_manifest"):
        return recordings, read_manifest(data["valid_manifest"])
    return held_out(recordings)
