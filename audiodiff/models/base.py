"""The base of all models: denoiser, whitening, sampling defaults, saving and loading."""

import abc
import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from audiodiff.diffusion.denoiser import Conditioned, Denoiser
from audiodiff.diffusion.solvers import DDIM, Solver
from audiodiff.diffusion.timesteps import TIMESTEP_GRIDS, check_timesteps, linear_timesteps
from audiodiff.models import checkpoint, hub, registry
from audiodiff.models.quantization import narrowest
from audiodiff.models.rebuilding import fill, rebuild
from audiodiff.models.starts import Start
from audiodiff.models.whitening import Whitening
from audiodiff.utils import devices
from audiodiff.utils.files import write_text
from audiodiff.utils.validation import check_counts

log = logging.getLogger(__name__)
if hasattr(os, "register_at_fork"):  # a forked process has none of the threads with which its parent calculated
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
ROUNDING = 1e-6  # of times that come in float32


class Model(nn.Module, abc.ABC):
    """Combine a denoiser, a whitening, and sampling defaults.

    Args:
        denoiser: Network, prediction and schedule.
        whitening: Map between waveforms and the diffused space.
        sample_rate: Hz.
        hop_length: Divisor of the length of signals, in samples.
        start: Default start.
        steps: Default number of solver steps.
        solver: Default solver; DDIM if None.
        times: Timesteps that were searched for this model (`audiodiff tune-times`), for several numbers of steps; the
            default for these numbers, if they begin at the start's time.

    Raises:
        ValueError: A number lies outside its range, or times make no grid.
    """

    config: dict[str, Any]  # the section from which this object was built; `save` writes it
    precision: str  # in which the network multiplies while it makes sound: "float32", or "bfloat16" for speed
    info: dict[str, Any]  # licence, data, level, training: what `audiodiff info` prints

    def __init__(
        self,
        denoiser: Denoiser,
        whitening: Whitening,
        sample_rate: int,
        hop_length: int,
        start: Start,
        steps: int,
        solver: Solver | None = None,
        times: Sequence[Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        check_counts(1, steps=steps)
        if sample_rate < 1 or hop_length < 1:
            raise ValueError(f"sample_rate={sample_rate}, hop_length={hop_length}: both must be at least 1")
        self.denoiser = denoiser
        self.whitening = whitening
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.start = start
        self.steps = steps
        self.solver = solver or DDIM()
        self.times = [check_timesteps(grid) for grid in times or []]
        self.precision = "float32"
        self.config = {}
        self.info = {}

    def conditioned(self, condition: Any) -> Conditioned:
        """Bind a condition, as the network's `encode` returns it, or None, to the denoiser."""
        return Conditioned(self.denoiser, condition, self.precision)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the weights, as `to` and `cuda` want, but keep them in float32, whatever `half` or `double` want."""
        dtype = fn(torch.zeros((), dtype=torch.float32, device=self.device)).dtype
        if dtype == torch.float32:
            return super()._apply(fn, recurse)
        log.warning(
            "the weights stay in float32, not %s; to multiply in bfloat16 set model.precision, to store 16 bits give "
            "save(dtype=torch.float16)",
            str(dtype).removeprefix("torch."),
        )
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)

    def save(
        self, path: str | Path, raw: Mapping[str, Tensor] | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        """Write PATH.safetensors and PATH.json; see `models.checkpoint.write`.

        Args:
            path: With or without the suffix.
            raw: The last weights, if they are to be kept beside the averaged ones.
            dtype: Of storage; int8 keeps large tensors in eight bits, row by row.
        """
        checkpoint.write(path, {"config": self.config, "info": self.info}, self.state_dict(), raw, dtype)

    @classmethod
    def load(cls, model: str | Path, device: str | torch.device = "cpu", weights: str = "ema") -> Self:
        """Rebuild a model from its file.

        Args:
            model: Shipped name, .safetensors, run folder, .ckpt, or hf://owner/name.
            device: Where to put it; any choice of `devices.resolve`.
            weights: "ema" for the averaged weights, "raw" for the last ones.

        Raises:
            ValueError: The file is missing, of another kind, damaged, unsafe, or lacks these weights; or the device is
                not there.
        """
        path = registry.locate(model)
        header, state = checkpoint.read(path, weights)
        rebuilt = rebuild(path, header["config"], sum(tensor.numel() for tensor in state.values()))
        if not isinstance(rebuilt, Model):
            raise ValueError(f"{path}: its configuration builds a {type(rebuilt).__name__}, and no model")
        if not isinstance(rebuilt, cls):
            raise ValueError(f"{model}: holds a {type(rebuilt).__name__}, and a {cls.__name__} is wanted")
        fill(path, rebuilt, state)
        rebuilt.config, rebuilt.info = header["config"], header["info"]
        return rebuilt.to(devices.resolve(device))

    @abc.abstractmethod
    def try_out(self) -> None:
        """Ask all parts once, of a sound of few samples; raise whatever they raise if they do not fit each other."""

    @classmethod
    def from_pretrained(
        cls, name: str | Path, revision: str | None = None, device: str | torch.device = "cpu", weights: str = "ema"
    ) -> Self:
        """Load a file, a run's folder or a shipped name, and owner/name from the hub if there is none of these.

        Raises:
            ValueError: There is no such model, or it is of another kind.
        """
        try:
            path = registry.locate(name)
        except ValueError:
            if not hub.NAME.fullmatch(str(name)):
                raise
            path = hub.fetch(str(name), revision)
        return cls.load(path, device, weights)

    def fingerprint(self) -> str:
        """Compute a SHA-256 over configuration and weights; return its first 16 hexadecimal digits."""
        digest = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def write_hub_layout(self, folder: str | Path, name: str) -> None:
        """Write the files of the hub into a folder: weights, configuration, card, and a shipped model's licence.

        Weights that 8 or 16 bits hold exactly, as those of shipped models, are stored in as many, others in 32.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.save(folder / hub.FILES[0], dtype=narrowest(self.state_dict()))
        (folder / "model.json").replace(folder / hub.FILES[1])
        own = self.info.get("name")
        shipped = registry.locate(own).with_suffix(".md") if own in registry.shipped() else None
        write_text(folder / "README.md", hub.card(name, type(self).__name__, self.sample_rate, self.info, shipped))
        if shipped is not None:
            shutil.copyfile(shipped.with_suffix(".LICENSE"), folder / "LICENSE")

    def push_to_hub(self, name: str, private: bool = False) -> str:
        """Upload the model to the hub as owner/name and return its address; see `models.hub.upload`."""
        with tempfile.TemporaryDirectory() as folder:
            self.write_hub_layout(folder, name.removeprefix(hub.PREFIX))
            return hub.upload(folder, name, private)

    def resolve_timesteps(self, steps: int | None, solver: Solver | None, times: Tensor | None, start: Start) -> Tensor:
        """Resolve the timesteps: `times` if given, otherwise the model's grid.

        Raises:
            TypeError: The solver or the start is something else, such as a name.
            ValueError: Steps or times make no grid, the grid does not begin at the start's time, or weights are not in
                float32.
        """
        for kind, value, example in (
            (Solver, solver, "config.choose('solver', 'ddim')"),
            (Start, start, "PureNoise()"),
        ):
            if not isinstance(value, kind | None):
                raise TypeError(f"{value!r} is no {kind.__name__}: give one, such as {example}")
        if wrong := {p.dtype for p in self.parameters()} - {torch.float32}:
            raise ValueError(f"the weights are in {wrong.pop()}, and float32 is wanted: call model.denoiser.float()")
        times = None if times is None else check_timesteps(times).clone()
        asked = steps if times is None else len(times) - 1
        if asked is not None:
            check_counts(1, steps=int(asked) if isinstance(asked, Integral) else asked)
        if times is None:
            return check_timesteps(self.grid(steps, start.time, solver))
        if abs(float(times[0]) - start.time) > ROUNDING:
            raise ValueError(f"times begin at {float(times[0]):g}, the start at {start.time:g}: make them equal")
        times[0] = start.time
        return times

    def grid(self, steps: int | None = None, start: float = 1.0, solver: Solver | None = None) -> Tensor:
        """Return the default timesteps, [steps + 1]: those searched for the model, or else the solver's grid."""
        steps, schedule = self.steps if steps is None else steps, self.denoiser.schedule
        for times in self.times:
            if len(times) == steps + 1 and float(times[0]) == start:
                return times
        if math.isinf(float(schedule.log_snr(torch.tensor(start, dtype=torch.float64)))):
            return linear_timesteps(steps, start)  # no grid is even in log-SNR from zero SNR
        return TIMESTEP_GRIDS[(solver or self.solver).grid](schedule, steps, start)
