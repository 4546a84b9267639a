"""Map time to signal and noise scales: one family of paths a file, and the grids of times on which solvers walk.

A diffusion path mixes a clean signal ``x`` with white noise ``eps``:

    x_t = alpha_t x + sigma_t eps,        log_snr(t) = log(alpha_t² / sigma_t²)

Time runs from ``t = 0`` (audio) to ``t = 1`` (noise). A schedule answers two questions apart: how fast the log-SNR
falls with time, and which scales belong to a log-SNR (their ratio is given by it; a family fixes alpha² + sigma² = 1,
alpha = 1, or alpha + sigma = 1). Solvers and networks speak of log-SNR, so a trained network may be moved to another
schedule. Schedules are plain objects without parameters: they compute in the dtype of the time that they are given,
which the library keeps in float64 on the CPU and casts where it meets a signal.
"""

from audiodiff.diffusion.schedules.base import RangedSchedule as RangedSchedule
from audiodiff.diffusion.schedules.base import Schedule as Schedule
from audiodiff.diffusion.schedules.rectified_flow import RectifiedFlow as RectifiedFlow
from audiodiff.diffusion.schedules.variance_exploding import GeometricVE as GeometricVE
from audiodiff.diffusion.schedules.variance_exploding import KarrasVE as KarrasVE
from audiodiff.diffusion.schedules.variance_preserving import CosineVP as CosineVP
from audiodiff.diffusion.schedules.variance_preserving import LaplaceVP as LaplaceVP
from audiodiff.diffusion.schedules.variance_preserving import LinearVP as LinearVP
from audiodiff.diffusion.schedules.variance_preserving import LogisticVP as LogisticVP
from audiodiff.diffusion.schedules.variance_preserving import SigmoidVP as SigmoidVP
from audiodiff.diffusion.schedules.variance_preserving import SubVP as SubVP
from audiodiff.diffusion.schedules.zero_terminal import ZeroTerminalSNR as ZeroTerminalSNR
