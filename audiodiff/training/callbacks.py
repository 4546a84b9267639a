"""Callbacks of the trainer: checkpoints, previews, progress."""

import contextlib
import datetime
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from audiodiff import audio
from audiodiff.models.base import Model
from audiodiff.models.generator import Generator
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.resynthesis import resynthesise
from audiodiff.utils import devices

log = logging.getLogger(__name__)
GENERATED_SECONDS = 4.0
TIMED = 10  # steps from which the time of a run is told


class Checkpoints(Callback):
    """Save one file to resume from: every few steps, at the end, and when the run is interrupted.

    Must come after `EMA` in the list of callbacks, so that it saves the updated average.

    Args:
        path: The file; replaced when the new one is complete.
        every: Steps between saves.
    """

    def __init__(self, path: str | Path, every: int) -> None:
        self.path = Path(path)
        self.every = every

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Check before the first step that the disk has room for a checkpoint.

        Raises:
            ValueError: It has not.
        """
        least, free = (2 * sum(p.nbytes for p in pl_module.parameters()), shutil.disk_usage(self.path.parent).free)
        if free < least:
            raise ValueError(
                f"{self.path}: a checkpoint takes {least / 2**20:.1f} MiB or more, and {free / 2**20:.1f} MiB are "
                "free: free some space, or give run_dir= elsewhere"
            )

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every `every` steps; ask for a validation of the last one."""
        if trainer.global_step % self.every == 0:
            self._save(trainer)
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # before which Lightning validates

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save the last state."""
        self._save(trainer, last=True)

    def _save(self, trainer: lightning.Trainer, last: bool = False) -> None:
        temporary = self.path.with_name(f".{self.path.name}.part")
        try:
            trainer.save_checkpoint(temporary)
            if trainer.is_global_zero:
                os.replace(temporary, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            message = f"{self.path}: step {trainer.global_step} could not be saved ({error.strerror}); mend it"
            if last:
                raise ValueError(
                    f"{message}, and run the same command: it goes on from what was saved before"
                ) from None
            log.warning("%s: the last save is still there, and the run goes on", message)


class Previews(Callback):
    """Generate sound with the averaged weights at every validation, as the command line does.

    Writes WAV files into the run's folder and logs audio and spectrograms to TensorBoard.

    Args:
        folder: Folder of the WAV files.
        recordings: Audio files that a vocoder resynthesises; unused for a generator.
        seconds: Length of what is read of each.
        seed: Seed of the noise.
    """

    def __init__(self, folder: str | Path, recordings: list[Path], seconds: float = 10.0, seed: int = 0) -> None:
        self.folder = Path(folder)
        self.recordings = recordings
        self.seconds = seconds
        self.seed = seed
        self._logged: set[str] = set()  # names whose recordings stand beside their previews

    def on_validation_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the previews before the first batch, when the average is in place."""
        if batch_idx or trainer.sanity_checking or not trainer.is_global_zero:
            return
        model = pl_module.model
        with devices.full_precision(model.device):
            for name, waveform, recording in self._sounds(model):
                path = self.folder / f"step{trainer.global_step:07d}-{name}.wav"
                try:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    audio.write(path, waveform, model.sample_rate)
                except (OSError, ValueError) as error:
                    log.warning("%s: no preview (%s); the run goes on", path, error)
                    continue
                self._log(trainer, name, waveform, model)
                if recording is not None and name not in self._logged:
                    self._log(trainer, f"{name}-recording", recording, model)
                    self._logged.add(name)

    def _sounds(self, model: Model) -> list[tuple[str, Tensor, Tensor | None]]:
        """Make the previews, each with its name and its recording."""
        if isinstance(model, Generator):
            length = int(GENERATED_SECONDS * model.sample_rate)
            return [("sample", model.generate(length, seed=self.seed)[0].cpu(), None)]
        if not isinstance(model, Vocoder):
            raise ValueError(f"a {type(model).__name__} makes no sound that could be previewed")
        previews, stems = [], [path.stem for path in self.recordings]
        for number, path in enumerate(self.recordings, start=1):
            name = path.stem if stems.count(path.stem) == 1 else f"{path.stem}-{number}"
            try:
                recording, _ = audio.read(path, model.sample_rate, seconds=self.seconds)
                previews.append((name, resynthesise(model, recording, seed=self.seed).waveform, recording))
            except ValueError as error:  # the file is gone, or is too short, or has more than two channels
                log.warning("%s: no preview (%s); the run goes on", path, error)
        return previews

    def _log(self, trainer: lightning.Trainer, name: str, waveform: Tensor, model: Model) -> None:
        from audiodiff.evaluation.plots import spectrogram_image

        for logger in trainer.loggers:
            if hasattr(logger.experiment, "add_audio"):
                samples, _ = audio.to_pcm(waveform[:1])
                logger.experiment.add_audio(
                    f"preview/{name}", torch.from_numpy(samples.T / 32767), trainer.global_step, model.sample_rate
                )
                image = spectrogram_image(waveform[0])
                logger.experiment.add_image(f"preview/{name}", image, trainer.global_step, dataformats="HWC")


class Throughput(Callback):
    """Measure clips per second and append the logged metrics to a JSONL file.

    Args:
        path: The file.
        batch_size: Clips per batch of one process.
        every: Steps between lines.
    """

    def __init__(self, path: str | Path, batch_size: int, every: int = 50) -> None:
        self.path = Path(path)
        self.batch_size = batch_size
        self.every = every
        self._since: tuple[int, float] | None = None
        self._begun: tuple[int, float] | None = None

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log the rate since the last line; without a progress bar, tell once how long the run may take."""
        step, now = trainer.global_step, time.perf_counter()
        if self._since is None:
            self._since = self._begun = (step, now)
        if self._begun and step == self._begun[0] + TIMED:
            seconds = (now - self._begun[1]) / TIMED * (trainer.max_steps - step)
            if seconds and trainer.is_global_zero and trainer.progress_bar_callback is None:
                log.info("time        %s h:min:s to go, beside validations", datetime.timedelta(seconds=round(seconds)))
            self._begun = None
        if step % self.every or step == self._since[0]:
            return
        clips = self.batch_size * trainer.world_size * trainer.accumulate_grad_batches
        rate = (step - self._since[0]) * clips / (now - self._since[1])
        self._since = (step, now)
        pl_module.log("clips_per_second", rate, prog_bar=True)
        metrics = {n: v for n, v in trainer.callback_metrics.items() if not n.startswith("valid/")}
        self._append(trainer, {"clips_per_second": round(rate, 2), **metrics})

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Append the metrics of a validation."""
        if not trainer.sanity_checking:
            self._append(trainer, {n: v for n, v in trainer.callback_metrics.items() if n.startswith("valid/")})

    def _append(self, trainer: lightning.Trainer, metrics: Mapping[str, Any]) -> None:
        if trainer.is_global_zero and metrics:
            line = {"step": trainer.global_step} | {name: round(float(value), 6) for name, value in metrics.items()}
            try:
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            except OSError as error:
                log.warning("%s: step %d is not noted (%s); the run goes on", self.path, line["step"], error.strerror)


class StepLogger(TensorBoardLogger):
    """Log at the step of checkpoints, previews and metrics.jsonl; Lightning itself is one behind.

    Attributes:
        step: Returns the trainer's step; set once there is a trainer.
    """

    step: Callable[[], int] | None = None

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write metrics at the trainer's step."""
        super().log_metrics(metrics, step if self.step is None else self.step())


class ClipsPerSecond(TQDMProgressBar):
    """Show a progress bar over steps, with loss and clips per second; silent in a pipe."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        """Show the loss in place of Lightning's version number."""
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        if "train/loss" in trainer.callback_metrics:
            shown["loss"] = f"{float(trainer.callback_metrics['train/loss']):.3f}"
        return shown
