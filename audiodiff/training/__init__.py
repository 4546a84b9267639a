"""The Lightning side: what is optimised, averaged, logged and previewed."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.training.adversarial import LitAdversarial
    from audiodiff.training.distillation import LitDistillation
    from audiodiff.training.lr_schedules import Constant, WarmupCosine, WarmupStableDecay
    from audiodiff.training.mel_augment import MelAugment
    from audiodiff.training.module import LitModel
    from audiodiff.training.muon import Muon

__getattr__, __dir__, __all__ = lazy_names(__name__)
