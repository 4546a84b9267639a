"""The Lightning side: what is optimised, averaged, logged and previewed."""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.training.adversarial import LitAdversarial as LitAdversarial
    from audiodiff.training.distillation import LitDistillation as LitDistillation
    from audiodiff.training.lr_schedules import Constant as Constant
    from audiodiff.training.lr_schedules import WarmupCosine as WarmupCosine
    from audiodiff.training.lr_schedules import WarmupStableDecay as WarmupStableDecay
    from audiodiff.training.mel_augment import MelAugment as MelAugment
    from audiodiff.training.module import LitModel as LitModel
    from audiodiff.training.muon import Muon as Muon

__getattr__, __dir__, __all__ = lazy_names(__name__)
