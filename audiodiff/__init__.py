"""audiodiff: diffusion on audio waveforms, for vocoding and generation.

    >>> import audiodiff
    >>> vocoder = audiodiff.Vocoder.load("speech-16k")
    >>> waveform, _ = audiodiff.read("speech.flac", vocoder.sample_rate)  # doctest: +SKIP
    >>> audiodiff.write("out.wav", audiodiff.resynthesise(vocoder, waveform).waveform, 16000)  # doctest: +SKIP

Follow one clip through the code: `audio.read` → `mel.LogMel` → `model.Vocoder.generate` (`starts`, `solvers.sample`,
`denoisers.Denoiser`, `nn.HybridNetwork`, `consistency.MelProjection`, `priors`) → `audio.write`.

Each name is imported from its module when it is first used, so that `audiodiff --help` answers without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiodiff.audio import read, write
    from audiodiff.denoisers import Data, Denoiser, Estimate, Flow, Noise, Velocity
    from audiodiff.generator import Generator
    from audiodiff.mel import LogMel, MelSpec
    from audiodiff.mel_conversion import convert_mel
    from audiodiff.model import Vocoder
    from audiodiff.resynthesis import resynthesise, vocode
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
    "convert_mel",
    "even_log_snr",
    "even_times",
    "read",
    "resynthesise",
    "sample",
    "vocode",
    "write",
]

_HOMES = {
    name: module
    for module, names in {
        "audio": ("read", "write"),
        "denoisers": ("Data", "Denoiser", "Estimate", "Flow", "Noise", "Velocity"),
        "mel": ("LogMel", "MelSpec"),
        "mel_conversion": ("convert_mel",),
        "generator": ("Generator",),
        "model": ("Vocoder",),
        "resynthesis": ("resynthesise", "vocode"),
        "schedules": ("CosineVP", "Schedule", "even_log_snr", "even_times"),
        "solvers": ("DDIM", "DPMSolver2M", "Solver", "sample"),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    """Imports a public name, or a module of the package, at its first use."""
    if name.startswith("_"):
        raise AttributeError(f"module 'audiodiff' has no attribute {name!r}")
    try:
        home = importlib.import_module(f"audiodiff.{_HOMES.get(name, name)}")
    except ModuleNotFoundError as error:
        if error.name != f"audiodiff.{name}":
            raise
        raise AttributeError(f"module 'audiodiff' has no attribute {name!r}") from None
    return getattr(home, name) if name in _HOMES else home


def __dir__() -> list[str]:
    """Lists the public names."""
    return [*__all__, "__version__"]
