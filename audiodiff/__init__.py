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
    from audiodiff.audio import read as read
    from audiodiff.audio import write as write
    from audiodiff.diffusion.denoiser import Denoiser as Denoiser
    from audiodiff.diffusion.predictions import EpsPrediction as EpsPrediction
    from audiodiff.diffusion.predictions import Estimate as Estimate
    from audiodiff.diffusion.predictions import FlowPrediction as FlowPrediction
    from audiodiff.diffusion.predictions import VPrediction as VPrediction
    from audiodiff.diffusion.predictions import XPrediction as XPrediction
    from audiodiff.diffusion.sampling import sample as sample
    from audiodiff.diffusion.schedules import CosineVP as CosineVP
    from audiodiff.diffusion.schedules import Schedule as Schedule
    from audiodiff.diffusion.solvers import DDIM as DDIM
    from audiodiff.diffusion.solvers import DPMSolver2M as DPMSolver2M
    from audiodiff.diffusion.solvers import Solver as Solver
    from audiodiff.diffusion.timesteps import linear_timesteps as linear_timesteps
    from audiodiff.diffusion.timesteps import log_snr_timesteps as log_snr_timesteps
    from audiodiff.griffin_lim.mel_conversion import convert_mel as convert_mel
    from audiodiff.mel import LogMel as LogMel
    from audiodiff.mel import MelSpec as MelSpec
    from audiodiff.models.generator import Generator as Generator
    from audiodiff.models.vocoder import Vocoder as Vocoder
    from audiodiff.pipelines.resynthesis import resynthesise as resynthesise
    from audiodiff.pipelines.resynthesis import vocode as vocode

__getattr__, __dir__, __all__ = lazy_names(__name__)
