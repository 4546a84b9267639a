"""Shared by the tests of labelled shards."""

TINY = [
    *("model=one-shots", "model.n_samples=1024", "model.steps=2", "model.sample_rate=8000", "trainer=quick"),
    *("model.denoiser.network.width=16", "model.denoiser.network.n_heads=2", "model.denoiser.network.n_stages=1"),
    *(
        "model.denoiser.network.hop_length=64",
        "model.denoiser.network.n_fft=256",
        "model.denoiser.network.embedding=16",
    ),
    *("data.batch_size=4", "data.validation_clips=4", "data.n_workers=0", "previews=0", "optim.total_steps=4"),
]
