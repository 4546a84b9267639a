"""The sampling loop: walk a grid of times with any solver."""

from torch import Tensor

from audiodiff.diffusion.denoiser import Denoise
from audiodiff.diffusion.noise import NoiseField
from audiodiff.diffusion.solvers.base import Callback, NoiseSource, Solver, SolverState
from audiodiff.diffusion.timesteps import check_timesteps


def sample(
    denoise: Denoise,
    solver: Solver,
    x: Tensor,
    times: Tensor,
    *,
    generator: NoiseSource = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walk a grid of times and land on the clean estimate.

    A grid ends at t = 0, where the path holds sigma_0 of noise (5e-4 at a log-SNR of 15): the step that lands there
    reaches x̂ to within that. To stop earlier would leave noise, and to return x̂ from an earlier time would shrink
    the weak components of the signal.

    Args:
        x: Signal at times[0], [B, 1, T].
        times: Strictly decreasing, from at most 1 to exactly 0; float64 on the CPU, [steps + 1].
        generator: Source of noise for stochastic solvers; a field, or one generator for each clip, makes a clip
            independent of its batch.
        callback: Called after each step with its index and the signal.

    Returns:
        The signal at t = 0, [B, 1, T].

    Raises:
        ValueError: The grid is not decreasing, or does not end at 0, or a stochastic solver has no generator.
    """
    times = check_timesteps(times)
    memory: SolverState = None
    for i in range(len(times) - 1):
        x, memory = take_step(denoise, solver, times, i, x, memory, generator, callback)
    return x


def take_step(
    denoise: Denoise,
    solver: Solver,
    times: Tensor,
    i: int,
    x: Tensor,
    memory: SolverState,
    generator: NoiseSource = None,
    callback: Callback | None = None,
) -> tuple[Tensor, SolverState]:
    """Take step i of a grid: from times[i] to times[i + 1], with the step's own noise where the source is a field.

    Args:
        x: Signal at times[i], [B, 1, T].
        memory: Solver state that the step before returned; None at the first.
        denoise, solver, times, generator, callback: As for `sample`.

    Returns:
        The signal at times[i + 1], and the solver state for the next step.
    """
    noise = generator.of_step(i + 1) if isinstance(generator, NoiseField) else generator
    x, memory = solver.step(denoise, x, times[i], times[i + 1], memory, noise)
    if callback is not None:
        callback(i, x)
    return x, memory
