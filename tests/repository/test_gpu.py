"""What must hold on a CUDA device: python -m pytest -m gpu."""

import pytest
import torch

from audiodiff.models.base import Model
from audiodiff.models.starts import PureNoise

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_generate_on_the_gpu_agrees_with_the_cpu(tiny_model_path, waveform):
    cpu, gpu = Model.load(tiny_model_path), Model.load(tiny_model_path, "cuda")
    mel = cpu.spectrogram(waveform[None])
    one, other = (m.generate(mel, steps=2, seed=3, start=PureNoise()).cpu() for m in (cpu, gpu))
    assert float((one - other).abs().max()) < 1e-3 * float(one.abs().max())  # sums in another order, TF32 off


def test_a_training_step_runs_on_the_gpu_in_its_best_precision(tmp_path):
    from support.training import run, steps

    run(tmp_path, *steps(4), "trainer.accelerator=cuda")
    assert (tmp_path / "model.safetensors").is_file()
