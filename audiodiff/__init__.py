"""audiodiff: diffusion on audio waveforms, for vocoding and generation.

    >>> import audiodiff
    >>> vocoder = audiodiff.Vocoder.load("speech-16k")
    >>> waveform, _ = audiodiff.read("speech.flac", vocoder.sample_rate)  # doctest: +SKIP
    >>> audiodiff.write("out.wav", audiodiff.resynthesise(vocoder, waveform).waveform, 16000)  # doctest: +SKIP

Follow one clip through the code: `audio.read` → `mel.LogMel` → `model.Vocoder.generate` (`starts`, `solvers.sample`,
`denoisers.Denoiser`, `nn.HybridNetwork`, `consistency.MelProjection`, `priors`) → `audio.write`.
"""

from audiodiff.audio import read, write
from audiodiff.denoisers import Data, Denoiser, Estimate, Flow, Noise, Velocity
from audiodiff.mel import LogMel, MelSpec
from audiodiff.model import Generator, Vocoder
from audiodiff.resynthesis import resynthesise
from audiodiff.schedules import CosineVP, Schedule, even_log_snr, even_times
from audiodiff.solvers import DDIM, DPMSolver2M, Solver, sample

__version__ = "0.1.0"

__all__ = [
    "DDIM",
    "CosineVP",
    "DPMSolver2M",
    "Data",
    "Denoiser",
    "Estimate",
    "Flow",
    "Generator",
    "LogMel",
    "MelSpec",
    "Noise",
    "Schedule",
    "Solver",
    "Velocity",
    "Vocoder",
    "even_log_snr",
    "even_times",
    "read",
    "resynthesise",
    "sample",
    "write",
]
