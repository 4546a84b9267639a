"""Steps from noise to audio: one family of solvers a file, and `sample`, which takes them all.

A name such as "unipc" is a file of conf/solver: the class and its arguments.
"""

from audiodiff.diffusion.solvers.base import NoiseSource, Solver
from audiodiff.diffusion.solvers.ddim import DDIM
from audiodiff.diffusion.solvers.dpm_solver import DPMSolver1, DPMSolver2M, DPMSolver2S, DPMSolver3M, SDEDPMSolver2M
from audiodiff.diffusion.solvers.euler_maruyama import EulerMaruyama
from audiodiff.diffusion.solvers.heun import Heun
from audiodiff.diffusion.solvers.midpoint import Midpoint
from audiodiff.diffusion.solvers.predictor_corrector import PredictorCorrector
from audiodiff.diffusion.solvers.unipc import UniPC
from audiodiff.utils.config import choices, choose

__all__ = [
    "DDIM",
    "DPMSolver1",
    "DPMSolver2M",
    "DPMSolver2S",
    "DPMSolver3M",
    "EulerMaruyama",
    "Heun",
    "Midpoint",
    "NoiseSource",
    "PredictorCorrector",
    "SDEDPMSolver2M",
    "Solver",
    "UniPC",
    "name_of",
    "solver_named",
    "solver_names",
]


def solver_names() -> list[str]:
    """Lists the names by which configs and the command line know the solvers."""
    return choices("solver")


def solver_named(name: str) -> Solver:
    """Builds the solver of a name.

    Raises:
        ValueError: No solver is called so.

    >>> solver_named("ancestral").eta
    1.0
    """
    return choose("solver", name)


def name_of(solver: Solver) -> str | None:
    """Finds the name under which a solver with these arguments is known, or None.

    >>> name_of(DDIM())
    'ddim'
    """
    same = (name for name in solver_names() if _equal(solver_named(name), solver))
    return next(same, None)


def _equal(a: Solver, b: Solver) -> bool:
    plain = [{k: v for k, v in vars(s).items() if not k.startswith("_")} for s in (a, b)]
    return type(a) is type(b) and plain[0] == plain[1]
