"""Says where the time of a training step goes, beside its matrix products alone.

    OMP_NUM_THREADS=1 python demos/benchmarks/train_step.py experiment=speech
    OMP_NUM_THREADS=1 python demos/benchmarks/train_step.py experiment=speech trainer.precision=bf16-mixed --top 12
    OMP_NUM_THREADS=1 python demos/benchmarks/train_step.py experiment=speech compile=true

Every product that forward and backward make is made again by itself, at its shape, memory layout and precision: their
sum is what a step would take if nothing else were in it. Times are of the processor, so that who waits for a busy
machine is not charged; each is the least of several rounds, in which all parts take turns. The clips are noise.
"""

import argparse
import collections
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from audiodiff.training.compile import compile_blocks
from audiodiff.training.ema import EMA
from audiodiff.training.hydra_config import composed, plain
from audiodiff.training.module import LitModel
from audiodiff.training.param_groups import optimizer_of
from audiodiff.utils.config import build

PARTS = ("forward", "backward", "gradients", "optimiser", "average")
Seconds = collections.Counter


class Products(TorchDispatchMode):
    """Write down every product inside a `with` block: what was called, and how its arguments lie in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: collections.Counter = collections.Counter()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Call as asked, and counts."""
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.operations += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
            told = [(tuple(a.shape), a.stride(), a.dtype) if isinstance(a, Tensor) else a for a in args]
            self.seen[func, tuple(tuple(a) if isinstance(a, list) else a for a in told)] += 1
        return out

    def again(self) -> float:
        """Make all of them once more, each by itself, and return the seconds of those that a step makes."""
        total = 0.0
        for (func, told), count in self.seen.items():
            args = [_laid_out(*a) if isinstance(a, tuple) and isinstance(a[-1], torch.dtype) else a for a in told]
            func(*args)
            began = time.process_time()
            for _ in range(5):
                func(*args)
            total += count * (time.process_time() - began) / 5
        return total


def _laid_out(shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty_strided(shape, stride, dtype=dtype).normal_()


@contextmanager
def charged(seconds: Seconds, name: str) -> Iterator[None]:
    """Add the processor time of a `with` block to a name."""
    began = time.process_time()
    yield
    seconds[name] += time.process_time() - began


def step(lit: LitModel, batch: Tensor, optimizer: torch.optim.Optimizer, ema: EMA, autocast: Any) -> Seconds:
    """Make one training step as Lightning does, and return the seconds of its parts."""
    seconds: Seconds = Seconds()
    generator = torch.Generator().manual_seed(0)
    with charged(seconds, "forward"), autocast():
        loss = lit.compute_loss(batch, generator).total.mean()
    with charged(seconds, "backward"):
        loss.backward()
    with charged(seconds, "gradients"):
        lit.guard.loss(loss)
        lit.guard.gradient(lit.parameters())
        torch.nn.utils.clip_grad_norm_(lit.parameters(), 1.0)
    with charged(seconds, "optimiser"):
        optimizer.step()
        optimizer.zero_grad()
    with charged(seconds, "average"):
        ema.update(dict(lit.named_parameters()))
    return seconds


def peak_of(dtype: torch.dtype, n: int = 1024, rounds: int = 20) -> float:
    """Measure the fastest product of n x n matrices, in 10⁹ operations per second of the processor."""
    matrix, taken = torch.ones(n, n, dtype=dtype), []
    for _ in range(rounds):
        began = time.process_time()
        torch.mm(matrix, matrix)
        taken.append(time.process_time() - began)
    return 2 * n**3 / min(taken) / 1e9


def built(overrides: list[str]) -> tuple[LitModel, Tensor, Callable]:
    """Build what trains, a batch of noise, and the context of its precision."""
    cfg = composed(overrides)
    model = build(plain(cfg.model))
    lit = instantiate(cfg.objective)(
        model, build(plain(cfg.loss)), instantiate(cfg.optimizer, _convert_="all"), lambda n: 1.0
    )
    torch.nn.init.normal_(model.denoiser.network.outward.weight, std=0.01)  # zero at first, which hides what is behind
    batch = 0.05 * torch.randn(cfg.data.batch_size, 1, cfg.data.n_samples, generator=torch.Generator().manual_seed(0))
    if cfg.compile:
        compile_blocks(model.denoiser.network)
    half = cfg.trainer.precision == "bf16-mixed"
    return lit.train(), batch, lambda: torch.autocast("cpu", torch.bfloat16, enabled=half)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--top", type=int, default=0, metavar="N", help="the dearest operations, too")
    args = parser.parse_args()
    lit, batch, autocast = built(args.overrides)
    optimizer, ema, products = optimizer_of(lit.optimizer, lit.model, None), EMA(), Products()
    step(lit, batch, optimizer, ema, autocast)
    with products, torch.compiler.set_stance("force_eager"):  # compiled code makes them out of sight
        step(lit, batch, optimizer, ema, autocast)
    least = dict.fromkeys(("products", *PARTS), float("inf"))
    for _ in range(args.rounds):
        found = step(lit, batch, optimizer, ema, autocast) | Seconds(products=products.again())
        least = {name: min(value, found[name]) for name, value in least.items()}
    whole = sum(least[name] for name in PARTS)
    peak = peak_of(torch.bfloat16 if args.overrides.count("trainer.precision=bf16-mixed") else torch.float32)
    print("| part | ms | of the products |\n|---|---|---|")
    for name, value in (least | {"step": whole}).items():
        print(f"| {name} | {1000 * value:.1f} | {value / least['products']:.2f} |")
    rate = products.operations / least["products"] / 1e9
    print(
        f"\n{products.operations / 1e9:.2f} GFLOP in {sum(products.seen.values())} products, {rate:.0f} GFLOP/s; ",
        end="",
    )
    print(f"the largest product makes {peak:.0f}, at which they would take {products.operations / peak / 1e6:.1f} ms")
    if args.top:
        with torch.profiler.profile() as profile:
            for _ in range(3):
                step(lit, batch, optimizer, ema, autocast)
        rows = sorted(profile.key_averages(), key=lambda row: -row.self_cpu_time_total)[: args.top]
        print("\n| operation | ms | calls |\n|---|---|---|")
        for row in rows:
            print(f"| {row.key} | {row.self_cpu_time_total / 3000:.1f} | {row.count // 3} |")


if __name__ == "__main__":
    main()
