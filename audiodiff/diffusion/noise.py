"""White noise as a field: each value is a function of seed, draw and position.

A sound in pieces of any size, in any order, on any device, draws the same noise as the whole.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BLOCK = 4096  # samples drawn together; another value gives other noise
DRAWS = 2**16  # largest number of draws in a step


class NoiseField:
    """Draw standard normal noise for a batch of clips, from a counter-based generator.

    Block n of draw d of a clip comes from NumPy's Philox with the key (seed, d), its counter set to n 2^64.
    Reference: Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3".

    Args:
        seeds: One for each clip.
        begin: Position of the first sample.
        step: Number of the solver's step; 0 for the start.

    >>> whole = NoiseField([7]).draw(torch.empty(1, 1, 9000))
    >>> bool((NoiseField([7], begin=5000).draw(torch.empty(1, 1, 4000)) == whole[..., 5000:]).all())
    True
    """

    def __init__(self, seeds: Sequence[int], begin: int = 0, step: int = 0) -> None:
        self.seeds = list(seeds)
        self.begin = begin
        self.step = step
        self.drawn = 0

    def of_step(self, step: int) -> "NoiseField":
        """Return the noise of another step at the same place."""
        return NoiseField(self.seeds, self.begin, step)

    def draw(self, like: Tensor) -> Tensor:
        """Draw noise shaped like a signal, [B, 1, T], different at each call.

        Raises:
            ValueError: The signal has not as many clips as there are seeds.
        """
        if len(like) != len(self.seeds):
            raise ValueError(f"{len(self.seeds)} seeds for {len(like)} clips: give one for each")
        draw, self.drawn = DRAWS * self.step + self.drawn, self.drawn + 1
        clips = np.stack([_normal(seed, draw, self.begin, like.shape[-1]) for seed in self.seeds])
        return torch.from_numpy(clips)[:, None].to(like)


def _normal(seed: int, draw: int, begin: int, length: int) -> np.ndarray:
    first, last = begin // BLOCK, -(-(begin + length) // BLOCK)
    blocks = [_block(seed % 2**64, draw, n) for n in range(first, last)]
    return np.concatenate(blocks)[begin - first * BLOCK :][:length] if blocks else np.empty(0, np.float32)


def _block(seed: int, draw: int, block: int) -> np.ndarray:
    bits = np.random.Philox(key=np.array([seed, draw], np.uint64), counter=np.array([0, block, 0, 0], np.uint64))
    return np.random.Generator(bits).standard_normal(BLOCK, dtype=np.float32)
