"""Shared by the tests of export."""

from audiodiff.mel import MelSpec
from audiodiff.nn.band_split import SubBandNetwork
from audiodiff.nn.diffwave import SampleNetwork
from audiodiff.nn.hybrid import HybridNetwork
from audiodiff.nn.multi_resolution import ParallelNetwork

SPEC = MelSpec(16000)


CONVENTIONS = {
    "hop divides": SPEC,
    "hop does not divide": MelSpec(16000, 1024, 800, 200),
    "odd remainder": MelSpec(22050, 1000, 1000, 300),
    "centred": MelSpec(16000, center=True),
    "zeros beyond": MelSpec(16000, 512, 512, 128, pad_mode="constant", n_mels=40),
    "powers": MelSpec(16000, power=2.0, norm="none", log="log10"),
}


def hybrid(**how):
    return HybridNetwork(
        **{"hop_length": 128, "n_fft": 512, "width": 16, "attention_window": 4, "n_mels": 80, "mel_hop_length": 256}
        | how
    )


NETWORKS = {
    "hybrid": lambda: hybrid(),
    "magnitudes": lambda: hybrid(magnitudes="both", mel=SPEC),
    "causal": lambda: hybrid(causal=True),
    "hop does not divide": lambda: hybrid(hop_length=64, n_fft=400),
    "bands": lambda: SubBandNetwork(128, 512, n_bands=8, width=16, n_stages=1),
    "resolutions": lambda: ParallelNetwork([hybrid(), hybrid(hop_length=64, n_fft=256)]),
    "samples": lambda: SampleNetwork(256, width=8, n_layers=4, encoder_width=16),
}
