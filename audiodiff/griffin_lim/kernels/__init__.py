"""The door to the compiled CPU kernels of the mel inversion: one thread each, imported when first needed."""

import functools
import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiodiff.griffin_lim.kernels import dispatch
from audiodiff.griffin_lim.subband import SubbandSTFT
from audiodiff.utils.numba_cache import one_process_at_a_time

__all__ = ["can_iterate_open_frames", "iterate_open_frames"]

log = logging.getLogger(__name__)


def can_iterate_open_frames(octave: SubbandSTFT) -> bool:
    """Tell whether the kernel serves a transform: single precision on a CPU, no gradients, a mel of triangles."""
    wanted, spec = octave.wanted, octave.spec
    plain = wanted.device.type == "cpu" and wanted.dtype == torch.float32
    if not plain or (torch.is_grad_enabled() and wanted.requires_grad) or spec.power not in (1, 2):
        return False
    if _real_time() is None or dispatch._tables(len(octave.window)) is None:
        return False
    return dispatch._bank(spec, octave.n_bins) is not None


def iterate_open_frames(
    octave: SubbandSTFT,
    committed: Tensor,
    divisor: Tensor,
    frames: Tensor,
    phases: Tensor,
    newest: Tensor,
    hint: Tensor,
    begin: int,
    n_iter: int,
    extrapolation: float,
) -> tuple[Tensor, Tensor]:
    """Do what `griffin_lim.real_time.iterate_open_frames` does, clip by clip."""
    clips = [
        _one_clip(octave, n, committed, divisor, frames, phases, newest, hint, begin, n_iter, extrapolation)
        for n in range(len(frames))
    ]
    return torch.stack([frames for frames, _ in clips]), torch.stack([phases for _, phases in clips])


def _one_clip(
    octave: SubbandSTFT,
    n: int,
    committed: Tensor,
    divisor: Tensor,
    frames: Tensor,
    phases: Tensor,
    newest: Tensor,
    hint: Tensor,
    begin: int,
    n_iter: int,
    extrapolation: float,
) -> tuple[Tensor, Tensor]:
    spec, hop, width = octave.spec, octave.hop_length, frames.shape[1]
    even, odd = (_columns(frames[n, :, parity::2]) for parity in (0, 1))
    cosines, sines = _columns(phases[n].real), _columns(phases[n].imag)
    blocks = [_columns(signal.view(-1, hop)) for signal in (committed[n], divisor)]
    wanted = _columns(octave.wanted[n])
    lengths = [octave.n_bins * width] * 5 + [(len(wanted) + 2) * width]
    scratch = tuple(np.empty(length, np.float32) for length in lengths)
    constants = (
        tuple(dispatch._bank(spec, octave.n_bins)),
        (np.float32(octave.floor), np.float32(spec.power)),
        octave.window.numpy(),
        dispatch._tables(len(octave.window)),
    )
    last = tuple(np.array(z.detach().numpy(), order="C") for z in (newest[n], hint[n].real, hint[n].imag))
    how = (n_iter, np.float32(extrapolation), begin, spec.pad_mode == "reflect")
    _real_time().iterate(*blocks, even, odd, cosines, sines, wanted, *last, scratch, *constants, *how)
    samples = torch.from_numpy(np.stack([even, odd], axis=1).reshape(-1, width).T.copy())
    return samples, torch.complex(torch.from_numpy(cosines.T.copy()), torch.from_numpy(sines.T.copy()))


def _columns(rows: Tensor) -> np.ndarray:
    """Copy [F, N] to an array [N, F], whose rows are contiguous."""
    return np.array(rows.detach().numpy().T, order="C")


@functools.cache
def _real_time() -> Any:
    """Import the compiled kernel; None where Numba cannot be imported."""
    try:
        with one_process_at_a_time():
            from audiodiff.griffin_lim.kernels import real_time
    except ImportError as error:
        log.info("without Numba the real-time start takes several times as long: %s", error)
        return None
    return real_time
