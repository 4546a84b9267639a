"""Shared by the tests of schedules."""

import math

import pytest
import torch
import yaml

from audiodiff.diffusion.schedules import (
    CosineVP,
    GeometricVE,
    KarrasVE,
    LaplaceVP,
    LinearVP,
    LogisticVP,
    RectifiedFlow,
    SigmoidVP,
    SubVP,
    ZeroTerminalSNR,
)
from audiodiff.utils.config import build, conf_dir

VARIANTS = {
    "cosine-wide": CosineVP(-30, 30),
    "cosine-narrow": CosineVP(-6, 9),
    "cosine-shifted": CosineVP(-15, 20, shift=-2 * math.log(4)),
    "flow-narrow": RectifiedFlow(-8, 6),
    "flow-shifted": RectifiedFlow(shift=-2 * math.log(3)),
    "karras-other": KarrasVE(0.02, 10, rho=3),
    "laplace-other": LaplaceVP(1, 2, -9, 9),
    "linear-slow": LinearVP(0.01, 8),
    "linear-ranged": LinearVP(1, 12, -9, 8, shift=1),
    "logistic-other": LogisticVP(-1, 2),
    "sigmoid-late": SigmoidVP(0, 3, 0.3),
    "sigmoid-sharp": SigmoidVP(-3, 3, 0.1),
    "sub-vp-ranged": SubVP(1, 12, -8, 9, shift=-1),
    "ve-other": GeometricVE(1e-3, 50),
    "zero-terminal-linear": ZeroTerminalSNR(LinearVP()),
    "zero-terminal-far": ZeroTerminalSNR(CosineVP(-10, 40)),
}


PATHS = {path.stem: build(yaml.safe_load(path.read_text())) for path in (conf_dir() / "schedule").glob("*.yaml")}


PATHS = dict(sorted((PATHS | VARIANTS).items()))


every_path = pytest.mark.parametrize("path", PATHS)


def double(value):
    return torch.as_tensor(value, dtype=torch.float64)
