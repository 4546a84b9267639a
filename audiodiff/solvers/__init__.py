"""Steps from noise to audio: one solver a file, and `sample`, the only loop in the library."""

from audiodiff.solvers.base import Solver, sample
from audiodiff.solvers.ddim import DDIM
from audiodiff.solvers.dpm_solver import DPMSolver2M

SOLVERS: dict[str, type[Solver]] = {"ddim": DDIM, "dpmpp-2m": DPMSolver2M}
"""The names by which configs and the command line know the solvers."""


def solver_named(name: str) -> Solver:
    """Builds the solver of a name.

    Raises:
        ValueError: No solver is called so.
    """
    if name not in SOLVERS:
        raise ValueError(f"unknown solver {name!r}: choose one of {', '.join(SOLVERS)}")
    return SOLVERS[name]()


__all__ = ["DDIM", "SOLVERS", "DPMSolver2M", "Solver", "sample", "solver_named"]
