"""Makes more voices and rooms out of few: changes of speed and level."""

import random
from collections.abc import Sequence

__all__ = ["Augment"]


class Augment:
    """Draws a speed and a gain for each clip.

    Playing a recording faster or slower moves pitch and formants together, which makes another voice; the gain teaches
    a model that recordings come at all levels.

    Args:
        speeds: Factors of which one is drawn; 1 leaves the clip as it is.
        gain_db: Lowest and highest gain in dB, drawn uniformly.

    Raises:
        ValueError: A speed is not positive, or the gains are in the wrong order.
    """

    def __init__(self, speeds: Sequence[float] = (1.0,), gain_db: Sequence[float] = (0.0, 0.0)) -> None:
        if not speeds or min(speeds) <= 0:
            raise ValueError(f"speeds={list(speeds)} must be positive factors, such as [0.85, 1.0, 1.18]")
        if len(gain_db) != 2 or gain_db[0] > gain_db[1]:
            raise ValueError(f"gain_db={list(gain_db)} must be the lowest and the highest gain, such as [-12, 0]")
        self.speeds = list(speeds)
        self.gain_db = tuple(gain_db)

    def draw(self, rng: random.Random) -> tuple[float, float]:
        """Returns a speed factor and an amplitude factor."""
        return rng.choice(self.speeds), 10 ** (rng.uniform(*self.gain_db) / 20)
