import dataclasses
import sys
import time
from pathlib import Path

import numpy as np
import torch
from material import CONVENTIONS, recordings

from audiodiff import audio
from audiodiff.mel import LogMel
from audiodiff.mel_features import features

torch.set_num_threads(1)
folder, split, out = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
given = dict(CONVENTIONS)
for name in ("hifigan", "16k-hop256", "f5-tts", "bigvgan-24k-100", "cosyvoice2", "diffsinger"):
    given[name + " in log10"] = dataclasses.replace(CONVENTIONS[name], log="log10")
rows = recordings(folder, split, 99)
rows = [rows[i] for i in np.random.default_rng(2).permutation(len(rows))]
names = sorted(given)
claims = sorted(CONVENTIONS)
X, A, B, C = [], [], [], []
t0 = time.time()


def save():
    np.savez(
        out,
        x=torch.stack(X).numpy().astype(np.float32),
        a=np.array(A),
        b=np.array(B),
        c=np.array(C),
        names=np.array(names),
        claims=np.array(claims),
        files=np.array([r["file"] for r in rows]),
    )


for c, row in enumerate(rows):
    w, rate = audio.read(folder / row["file"])
    at = {}
    for a, name in enumerate(names):
        spec = given[name]
        if spec.sample_rate not in at:
            at[spec.sample_rate] = audio.resample(w[:1], rate, spec.sample_rate)
        mel = LogMel(spec)(at[spec.sample_rate][None])[0]
        for b, claim in enumerate(claims):
            if CONVENTIONS[claim].n_mels == spec.n_mels:
                X.append(features(mel, CONVENTIONS[claim]))
                A.append(a)
                B.append(b)
                C.append(c)
    if c % 6 == 5:
        save()
        print(c, len(rows), len(X), f"{time.time() - t0:.0f} s", flush=True)
save()
