"""Augmentation of clips by speed, level, mixtures, and a chain of effects."""

import random
from collections.abc import Mapping, Sequence

from torch import Tensor

from audiodiff.data.augment.effects import Effect
from audiodiff.data.augment.filters import at_level_of, ordered


class Augment:
    """Draw a speed and a gain for each clip, mix some with another clip, and apply effects.

    A change of speed moves pitch and formants together, like another voice.

    Args:
        speeds: Speed factors to draw from.
        gain_db: Lowest and highest gain in dB, drawn uniformly.
        mix: Share of clips that are mixed with another.
        mix_db: Lowest and highest level of the clip over the other, dB.
        then: Effects by name, applied one after the other before the gain.

    Raises:
        ValueError: A speed is not positive, mix is not in [0, 1], or limits are in the wrong order.
    """

    def __init__(
        self,
        speeds: Sequence[float] = (1.0,),
        gain_db: Sequence[float] = (0.0, 0.0),
        mix: float = 0.0,
        mix_db: Sequence[float] = (0.0, 15.0),
        then: Mapping[str, Effect] | None = None,
    ) -> None:
        if not speeds or min(speeds) <= 0:
            raise ValueError(f"speeds={list(speeds)} must be positive factors, such as [0.85, 1.0, 1.18]")
        if len(gain_db) != 2 or gain_db[0] > gain_db[1]:
            raise ValueError(f"gain_db={list(gain_db)} must be the lowest and the highest gain, such as [-12, 0]")
        if not 0 <= mix <= 1:
            raise ValueError(f"mix={mix} must be a share of the clips, such as 0.2")
        self.speeds = list(speeds)
        self.gain_db = tuple(gain_db)
        self.mix, self.mix_db = mix, ordered("mix_db", mix_db)
        self.effects = list((then or {}).values())

    def draw(self, rng: random.Random) -> tuple[float, float]:
        """Return a speed factor and an amplitude factor."""
        return rng.choice(self.speeds), 10 ** (rng.uniform(*self.gain_db) / 20)

    def wants_another(self, rng: random.Random) -> bool:
        """Decide whether another clip is added; draw nothing if that never happens."""
        return self.mix > 0 and rng.random() < self.mix

    def mixed(self, clip: Tensor, other: Tensor, rng: random.Random) -> Tensor:
        """Add another clip, [1, T], at a level below this one's."""
        return clip + at_level_of(clip, other) * 10 ** (-rng.uniform(*self.mix_db) / 20)

    def apply(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Apply the effects to a clip, [1, T]."""
        for effect in self.effects:
            clip = effect(clip, sample_rate, rng)
        return clip
