"""audiodiff: diffusion on audio waveforms, for vocoding and generation.

    >>> import audiodiff
    >>> vocoder = audiodiff.Vocoder.load("speech-24k")
    >>> waveform, _ = audiodiff.read("speech.flac", vocoder.sample_rate)  # doctest: +SKIP
    >>> audiodiff.write("out.wav", audiodiff.resynthesise(vocoder, waveform).waveform, 24000)  # doctest: +SKIP

Follow one clip through the code: `audio.read` → `mel.LogMel` → `models.Vocoder.generate` (`models.stages`,
`models.starts`, `griffin_lim`, `diffusion.sampling`, `nn.HybridNetwork`) → `audio.write`. The page
demos/docs/pages/journey.md names every hop.

Each name is imported from its module when it is first used, so that `audiodiff --help` answers without torch.
"""

from typing import TYPE_CHECKING

from audiodiff._version import __version__ as __version__
from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.audio import read, write
    from audiodiff.diffusion.denoiser import Denoiser
    from audiodiff.diffusion.predictions import EpsPrediction, Estimate, FlowPrediction, VPrediction, XPrediction
    from audiodiff.diffusion.sampling import sample
    from audiodiff.diffusion.schedules import CosineVP, Schedule
    from audiodiff.diffusion.solvers import DDIM, DPMSolver2M, Solver
    from audiodiff.diffusion.timesteps import linear_timesteps, log_snr_timesteps
    from audiodiff.griffin_lim.mel_conversion import convert_mel
    from audiodiff.mel import LogMel, MelSpec
    from audiodiff.models.generator import Generator
    from audiodiff.models.vocoder import Vocoder
    from audiodiff.pipelines.resynthesis import resynthesise, vocode

__getattr__, __dir__, __all__ = lazy_names(__name__)
