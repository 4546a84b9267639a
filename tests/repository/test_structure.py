"""The layout of the package, read with `ast`: who may import whom, and what stands where."""

import ast
import json
import re
import sys
from functools import cache
from pathlib import Path

import pytest

import audiodiff
from audiodiff.models import registry

PACKAGE = Path(audiodiff.__file__).parent
ROOT = PACKAGE.parent
SOURCES = sorted(
    p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).parts[0] not in ("conf", "datasets", "demos")
)

# HOUSE: a folder imports only from folders before it in this list, or from itself.
ROOMS = [
    "utils",
    "audio",
    "mel",
    "diffusion",
    "nn",
    "losses",
    "data",
    "griffin_lim",
    "models",
    "evaluation",
    "pipelines",
    "training",
    "tuning",
    "export",
    "web",
    "cli",
]
PLACE = {room: place for place, room in enumerate(ROOMS)}
PEERS = "evaluation.peers"  # adapters to packages of others, which the user installs and which do as they like
DOORS = {"", "_version", "__main__", "train", "tune"}  # files beside the rooms


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path):
    """audiodiff/nn/conv.py → nn.conv; audiodiff/diffusion/__init__.py → diffusion."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in SOURCES}


def part_of(module):
    return module.split(".")[0]


def imports(path, top_only=False):
    """Every module that a file imports, as a full name; `from a import b` gives a.b where that is a module."""
    body = tree(path).body if top_only else ast.walk(tree(path))
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full.removeprefix("audiodiff.") in MODULES else node.module


def inner_imports(path, top_only=False):
    """Modules of audiodiff that a file imports, without the prefix; the root itself (its version) does not count."""
    for name in imports(path, top_only):
        if name.startswith("audiodiff."):
            yield name.removeprefix("audiodiff.")


def outer_imports(path, top_only=False):
    return {name.split(".")[0] for name in imports(path, top_only)}


def literals(path):
    """Constants of a file, docstrings excepted."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and id(node) not in documentation:
            yield node


def every_source_but(*names):
    """Runs a check on every file but those of some rooms or folders, and tells all that fail it."""
    chosen = [p for p in SOURCES if not any(f"{name_of(p)}.".startswith(f"{name}.") for name in names)]

    def of_each(check):
        def test():
            failed = []
            for path in chosen:
                try:
                    check(path)
                except AssertionError as error:
                    failed.append(f"{path.relative_to(PACKAGE)}: {error}")
            assert not failed, "\n".join(failed)

        return test

    return of_each


every_source = every_source_but()


def test_every_module_is_in_a_room():
    assert not {part_of(name) for name in MODULES} - PLACE.keys() - DOORS
    assert {"models.vocoder", "nn.hybrid", "diffusion.solvers.ddim", "data.crops"} <= MODULES.keys()  # the reader reads


@every_source
def test_rooms_import_from_earlier_rooms_only(path):
    """Read every import statement, deferred and type-only ones too."""
    own = part_of(name_of(path))
    if own in DOORS:
        return
    for module in inner_imports(path):
        other = part_of(module)
        assert other == "_version" or PLACE[other] <= PLACE[own], f"{path.name} ({own}) imports {module}"


def test_modules_import_without_circles():
    """Read every import statement, deferred and type-only ones too."""
    graph = {name: set(inner_imports(path)) - {name} for name, path in MODULES.items() if name}
    done: set[str] = set()

    def visit(name, trail):
        assert name not in trail, " → ".join([*trail, name])
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, [*trail, name])
            done.add(name)

    for name in graph:
        visit(name, [])
    assert len(done) >= len(graph)


@every_source
def test_nobody_imports_the_training_program_or_the_command_line(path):
    own = part_of(name_of(path))
    for module in inner_imports(path):
        assert part_of(module) not in ("train", "tune"), f"{path.name} imports {module}"
        assert part_of(module) != "cli" or own in ("cli", "__main__"), f"{path.name} imports {module}"


def test_networks_know_no_diffusion_and_solvers_no_networks():
    forbidden = {"nn": "diffusion", "diffusion": "mel", "losses": "nn"}
    for name, path in MODULES.items():
        for module in inner_imports(path):
            assert part_of(module) != forbidden.get(part_of(name)), f"{name} imports {module}"


@every_source_but(PEERS)
def test_heavy_libraries_stay_where_they_belong(path):
    own, used = part_of(name_of(path)), outer_imports(path)
    assert own in ("training", "tuning") or not used & {"hydra", "omegaconf", "lightning", "tensorboard"}, used
    assert own == "tuning" or "optuna" not in used
    assert own == "web" or "gradio" not in used
    assert "librosa" not in used  # utils.numba_cache only, which asks for it by name
    assert not used & {"diffusers", "pytest", "hypothesis"}, used
    lazy = {"torchaudio", "librosa", "auraloss", "matplotlib", "soundfile", "soxr", "pesq", "pystoi", "pocketsphinx"}
    if own != "web":  # beside gradio, matplotlib weighs little
        assert (
            not outer_imports(path, top_only=True) & lazy
        )  # import audiodiff stays fast, and works without torchaudio


@every_source_but(PEERS)
def test_package_needs_no_dependency_beyond_those_declared(path):
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8") if (ROOT / "pyproject.toml").is_file() else None
    if declared is None:
        pytest.skip("no pyproject.toml beside the package: an installed one")
    aliases = {"sqlalchemy": "optuna", "omegaconf": "hydra-core", "hydra": "hydra-core"}
    aliases |= {"yaml": "pyyaml", "PIL": "pillow"}
    for name in outer_imports(path) - set(sys.stdlib_module_names) - {"audiodiff"}:
        assert re.search(rf'"{aliases.get(name, name)}[>=<"\[]', declared), f"{path.name} imports {name}"


@pytest.mark.parametrize("folder", ["conf", "datasets", "tests", "demos"])
def test_folders_beside_the_package_are_no_packages(folder):
    assert not list((ROOT / folder).rglob("__init__.py"))  # datasets/ would shadow PyPI's


@every_source
def test_files_are_short_and_documented(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 350, f"{lines} lines"
    assert ast.get_docstring(tree(path))


@every_source
def test_files_keep_no_list_of_their_public_names(path):
    """An underscore says what is private; such lists had become wrong in every tenth file."""
    if path.name != "__init__.py":
        assert not re.search(r"^__all__ = ", path.read_text(encoding="utf-8"), re.MULTILINE)


@every_source
def test_rooms_offer_names_in_a_way_that_type_checkers_read(path):
    """In a package with `py.typed` a name is public to them if it is imported `as` itself; others are its own need."""
    if path.name != "__init__.py":
        return
    used = {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            unsaid = [alias.name for alias in node.names if alias.asname != alias.name and alias.name not in used]
            assert not unsaid, f"import {unsaid} as themselves"


def test_types_are_shipped():
    assert (PACKAGE / "py.typed").is_file()


@every_source
def test_package_checks_by_exceptions_not_by_assert(path):
    assert not [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.Assert)]


@every_source_but("utils")
def test_devices_are_named_in_one_module(path):
    shown = {  # what `--help` shows, and no code reads
        id(keyword.value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg in ("help", "metavar")
    }
    texts = [c for c in literals(path) if isinstance(c.value, str) and id(c) not in shown]
    named = [c.lineno for c in texts if re.search(r"\b(cuda|mps)\b", c.value)]
    assert not named, f"{path.name}, lines {named}"


@every_source_but("evaluation")  # standards of measurement fix their rates
def test_sample_rates_are_never_assumed(path):
    rates = {16000, 22050, 24000, 32000, 44100, 48000}
    assumed = [c.lineno for c in literals(path) if type(c.value) in (int, float) and c.value in rates]
    assert not assumed, f"{path.name}, lines {assumed}"


@every_source_but(PEERS)
def test_randomness_comes_from_generators(path):
    """Nothing draws from, or seeds, the global generator; what initialises weights in torch.nn.init may."""
    seeded = {"Random", "default_rng", "Philox", "Generator"}
    draws = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "multinomial", "bernoulli", "uniform_"}
    for node in ast.walk(tree(path)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = ast.unparse(node.func.value)
        if owner.endswith("init"):
            continue
        if node.func.attr in draws and owner not in ("rng", "random"):
            assert "generator" in {keyword.arg for keyword in node.keywords}, f"{path.name}, line {node.lineno}"
        assert not (owner in ("torch", "random", "np.random", "numpy.random") and "seed" in node.func.attr)
        assert owner not in ("random", "np.random") or node.func.attr in seeded, node.lineno


@every_source_but("cli", "training", "tuning", "web", "__main__")  # programs may print
def test_package_logs_rather_than_prints(path):
    calls = [n.lineno for n in ast.walk(tree(path)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "print"]
    assert not calls


@pytest.mark.parametrize(
    "name", registry.shipped() or [pytest.param(None, marks=pytest.mark.skip("no weights shipped"))]
)
def test_shipped_weights_say_licence_data_and_mel(name):
    header = json.loads((PACKAGE / "weights" / f"{name}.json").read_text(encoding="utf-8"))
    for fact in ("licence", "data"):
        value = header["info"].get(fact)
        assert isinstance(value, str), fact
        assert value.strip().lower() not in ("", "unspecified", "unknown"), f"{fact}: {value}"
    assert {"rms", "peak"} <= header["info"]["level"].keys()
    assert not str(header["info"].get("initialised_from", "")).startswith("/")  # somebody's folder
    assert (PACKAGE / "weights" / f"{name}.safetensors").stat().st_size < 10e6
    if header["config"]["_target_"] == "audiodiff.models.Generator":
        assert len(header["config"]["labels"]) > 1
        return
    mel = header["config"]["mel"]
    assert mel["_target_"] == "audiodiff.mel.MelSpec"
    said = "sample_rate n_fft win_length hop_length n_mels f_min f_max scale norm power center pad_mode log floor"
    assert set(said.split()) <= mel.keys()


@pytest.mark.parametrize(
    "path", [*sorted(ROOT.glob("conf/**/*.yaml")), *sorted(PACKAGE.glob("weights/*.json"))], ids=str
)
def test_configurations_name_what_a_package_offers_so_that_files_may_move(path):
    """What a package's `__init__` imports may be named: audiodiff.diffusion.solvers.DDIM, but no file."""
    for named in re.findall(r'_target_"?: "?(audiodiff[\w.]*)', path.read_text(encoding="utf-8")):
        package, _, name = named.rpartition(".")
        home = PACKAGE.joinpath(*package.split(".")[1:], "__init__.py")
        assert home.is_file(), named
        offered = {
            alias.name for node in ast.walk(tree(home)) if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        assert name in offered, named
