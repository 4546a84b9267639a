"""Write a model as an ONNX file, which onnxruntime runs without torch.

That of a vocoder takes mels of any length, that of a generator a class by number and makes sounds of any length; it
says in its metadata which mel or classes it wants, at which rate, under which licence, and what it was made of. --part
sampler is the whole way from noise to the waveform, the scripts onnx_vocode.py and onnx_generate.py in demos/examples
run it; --part step is one call of the denoiser, --part stream one frame of a live model with its state
(onnx_stream.py). --host writes what a text-to-speech or singing program loads as its
vocoder: sherpa-onnx, or openutau, for which vocoder.yaml is written beside OUT.onnx.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from audiodiff.cli import checks, messages, parsing
from audiodiff.cli.jobs import check_new_file, refuse_existing
from audiodiff.export.host_names import companions
from audiodiff.utils.extras import requires_extra

if TYPE_CHECKING:
    from audiodiff.models.base import Model
    from audiodiff.models.sampling import SamplingConfig

EXAMPLE = "audiodiff export speech-22k vocoder.onnx --host sherpa-onnx"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the model, the file and how it samples."""
    parser.add_argument("model", type=checks.model, metavar="MODEL", help="shipped name, file, run folder or .ckpt")
    parser.add_argument("out", metavar="OUT.onnx", help="the file")
    parser.add_argument(
        "--part",
        type=checks.one_of("sampler", "step", "stream"),
        default="sampler",
        metavar="sampler|step|stream",
        help="what is exported (default: sampler)",
    )
    parser.add_argument(
        "--host", type=checks.host, metavar="NAME", help="program that runs the file: sherpa-onnx or openutau"
    )
    parser.add_argument(
        "--opset", type=checks.whole(18, 22), metavar="N", help="version of ONNX' operators, 18 to 22 (default: 18)"
    )
    parsing.add_weights_option(parser)
    parser.add_argument("-f", "--force", action="store_true", help="overwrite a file that exists")
    group = parser.add_argument_group("sampling")
    group.add_argument("--steps", type=checks.steps, metavar="N", help="solver steps (default: the model's own)")
    group.add_argument(
        "--solver", type=checks.solver, metavar="NAME", help="a solver that draws no noise (default: the model's own)"
    )
    group.add_argument(
        "--times", type=checks.times, metavar="GRID", help="as for `audiodiff vocode` (default: the model's own)"
    )
    group.add_argument(
        "--start",
        type=checks.start,
        metavar="NAME",
        help="noise, mel, griffin-lim or coarse-to-fine (default: its own)",
    )
    group.add_argument(
        "--seed", type=checks.seed, default=0, metavar="N", help="of the noise in a host's file (default: 0)"
    )
    group.add_argument(
        "--guidance", type=checks.number(0, 100), metavar="G", help="of a generator's label (default: the model's own)"
    )


def run(options: argparse.Namespace) -> int:
    """Check, load the model, and write."""
    out = Path(options.out)
    check_new_file(out, options.force, ".onnx")
    requires_extra("export", "onnx", "onnxscript", "onnxruntime", purpose="export")
    from audiodiff import export
    from audiodiff.models.base import Model

    model = Model.load(options.model, weights=options.weights)
    opset = export.OPSET if options.opset is None else options.opset
    export.check(model, options.part, options.host, opset)
    refuse_existing([out.with_name(name) for name in companions(options.host)], options.force)
    with messages.stages() as stage:
        difference = export.export(
            model,
            out,
            options.part,
            _sampling(model, options),
            options.guidance,
            options.host,
            opset,
            options.seed,
            stage,
        )
    size = out.stat().st_size / 1e6
    messages.say(f"{out}: {size:.1f} MB; onnxruntime differs from torch by {difference:.1g} of the loudest sample")
    return 0


def _sampling(model: "Model", options: argparse.Namespace) -> "SamplingConfig":
    """Read the sampling options as `audiodiff vocode` and `audiodiff generate` do."""
    from audiodiff.diffusion.timesteps import check_timesteps
    from audiodiff.models import named_starts
    from audiodiff.models.generator import Generator
    from audiodiff.models.sampling import SamplingConfig
    from audiodiff.models.starts import PureNoise
    from audiodiff.pipelines.generation import GenerateRecipe
    from audiodiff.pipelines.recipe import OWN
    from audiodiff.pipelines.vocoding import VocodeRecipe
    from audiodiff.utils.config import choose

    settings = {name: getattr(options, name) for name in ("weights", "solver", "steps", "times")}
    if isinstance(model, Generator):
        if options.start not in (None, "noise"):
            raise ValueError(f"--start {options.start}: a generator starts from noise; leave it out")
        recipe, start = GenerateRecipe.from_options(model, options.model, **settings), PureNoise()
    else:
        recipe = VocodeRecipe.from_options("vocode", model, options.model, **settings, start=options.start)
        start = named_starts.build_start(recipe.start, model.mel)
    solver = model.solver if recipe.solver == OWN else choose("solver", recipe.solver)
    return SamplingConfig(start, solver, check_timesteps(recipe.times))
