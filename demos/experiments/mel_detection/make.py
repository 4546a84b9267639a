import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import numpy as np
import torch
from material import *

torch.set_num_threads(1)
folder, split, n_aug, part, parts, out = (
    Path(sys.argv[1]),
    sys.argv[2],
    int(sys.argv[3]),
    int(sys.argv[4]),
    int(sys.argv[5]),
    sys.argv[6],
)
rows = recordings(folder, split)
rows = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))][part::parts]
X, Y, G = [], [], []
t0 = time.time()
for i, row in enumerate(rows):
    w, rate = audio.read(folder / row["file"])
    for a in range(n_aug):
        draw = np.random.default_rng([i * parts + part, a, split == "train"])
        x = varied(w.mean(0, keepdim=True), rate, draw)
        for f, y in readings(x, rate, draw):
            X.append(f)
            Y.append(y)
            G.append(0)
        if draw.random() < 0.35:
            s = other_sound(24000, draw)
            for f, y in readings(s, 24000, draw):
                if y:
                    X.append(f)
                    Y.append(y)
                    G.append(1)
    if i % 20 == 0:
        np.savez(out, x=torch.stack(X).numpy().astype(np.float32), y=np.array(Y), g=np.array(G))
        print(i, len(rows), len(X), f"{time.time() - t0:.0f} s", flush=True)
np.savez(out, x=torch.stack(X).numpy().astype(np.float32), y=np.array(Y), g=np.array(G))
