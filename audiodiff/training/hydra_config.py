"""Compose the training configuration: Hydra's, outside of `python -m audiodiff.train`, and what its files refer to."""

import contextlib
import re
import shlex
from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from audiodiff.utils.config import build, conf_dir, shipped_path
from audiodiff.utils.validation import nearest


def fine_hop(mel_hop_length: int, most: int = 160) -> int:
    """Return the largest divisor of a mel's hop that is at most `most`: the default hop of a network.

    >>> [fine_hop(hop) for hop in (160, 256, 300, 441, 600)]
    [160, 128, 150, 147, 150]
    """
    return max(n for n in range(1, most + 1) if mel_hop_length % n == 0)


TEXTS = ("data.path", "data.manifest", "data.valid_manifest", "run_dir", "init_from", "forgetting", "study.name")

# In YAML, ${shipped:datasets/clips/speech} is a folder that comes with the package, wherever that is installed.
OmegaConf.register_new_resolver("shipped", lambda name: str(shipped_path(name)), replace=True)
OmegaConf.register_new_resolver("fine_hop", fine_hop, replace=True)
OmegaConf.register_new_resolver("product", lambda a, b: a * b, replace=True)
OmegaConf.register_new_resolver("ceil", lambda a, b: -(-a // b), replace=True)


def composed(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose conf/train.yaml with overrides, as `python -m audiodiff.train OVERRIDE …` does.

    Raises:
        ValueError: An override names nothing that there is.

    >>> composed(["model=generator", "data.path=recordings"]).model.steps
    32
    """
    try:
        with _hydra():
            return compose("train", list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_explained(error, overrides, "train")) from None


def _hydra() -> contextlib.AbstractContextManager[object]:
    """Set up Hydra for conf/, unless a program that Hydra started is running."""
    if GlobalHydra.instance().is_initialized():
        return contextlib.nullcontext()
    return initialize_config_dir(str(conf_dir()), version_base="1.3")


def set_output_rate(cfg: DictConfig) -> None:
    """Describe a configuration's mel at its output_rate, so that recordings and sound have that rate.

    Raises:
        ValueError: The model is no vocoder, or its mel cannot be described at that rate.

    >>> cfg = composed(["output_rate=24000"])
    >>> set_output_rate(cfg)
    >>> cfg.mel.sample_rate, cfg.mel.hop_length, cfg.mel.defined_at
    (24000, 384, 16000)
    """
    if cfg.output_rate is None:
        return
    if cfg.model._target_ != "audiodiff.models.Vocoder":
        raise ValueError("output_rate is a vocoder's: give a generator sample_rate=")
    try:
        cfg.mel = {"_target_": cfg.mel._target_} | build(plain(cfg.mel)).at_rate(cfg.output_rate).to_dict()
    except ValueError as error:
        raise ValueError(f"output_rate={cfg.output_rate}: {error}") from None


def typed_settings() -> list[str]:
    """List the names of the settings and groups on the command line of a program that Hydra started."""
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return [argument.partition("=")[0] for argument in typed if "=" in argument and argument[0] not in "+~"]


def plain(section: Any) -> Any:
    """Resolve a section to plain dictionaries, lists and values."""
    return OmegaConf.to_container(section, resolve=True)


def check_overrides(arguments: Sequence[str], config: str = "train", also: Sequence[str] = ()) -> DictConfig:
    """Compose what a command line asks for; name what is meant where there is no such setting or choice.

    Args:
        arguments: Of the command line; those that begin with a dash are Hydra's.
        config: Name of the main file in conf/.
        also: Further settings that may have been meant.

    Raises:
        ValueError: An override names nothing that there is.

    >>> check_overrides(["optimzer=adam"])
    Traceback (most recent call last):
    ValueError: optimzer: there is no such setting (did you mean optimizer?); see conf/train.yaml
    """
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    for argument in overrides:
        _check_form(argument)
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = compose(config, overrides)
            for argument in overrides:
                _check_argument(argument, cfg)
            return cfg
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_explained(error, overrides, config, also)) from None


def jobs_of(arguments: Sequence[str]) -> list[list[str]]:
    """List jobs of a sweep in which each value of each setting stands once, the others at their first.

    >>> jobs_of(["-m", "seed=1,2", "optimizer=glob(l*)", "optimizer.lr=interval(0.1,0.2)"])
    [['seed=1', 'optimizer=lion', 'optimizer.lr=0.1'], ['seed=2', 'optimizer=lion', 'optimizer.lr=0.1']]
    """
    choices = [_choices(argument) for argument in arguments if not argument.startswith("-")]
    first = [values[0] for values in choices]
    others = [[*first[:n], value, *first[n + 1 :]] for n, values in enumerate(choices) for value in values[1:]]
    return [first, *others]


def _choices(argument: str) -> list[str]:
    """List the overrides for which one of a sweep stands: of an interval its beginning, of others each value."""
    parsed = _parsed(argument)
    if parsed is None or not parsed.is_sweep_override():
        return [argument]
    values = parsed.value()
    if isinstance(values, Glob):
        texts = values.filter(sorted(path.stem for path in (conf_dir() / parsed.key_or_group).glob("*.yaml")))
    else:
        texts = [str(values.start)] if isinstance(values, IntervalSweep) else list(parsed.sweep_string_iterator())
    return [f"{parsed.get_key_element()}={text}" for text in texts] or [argument]


def _check_form(argument: str) -> None:
    """Refuse what is no NAME=VALUE, or no choice where one is wanted.

    Raises:
        ValueError: It is none.
    """
    name, equals, value = argument.partition("=")
    if not name.strip("+~") or not (equals or argument.startswith("~")):
        raise ValueError(f"{argument or 'an empty argument'}: NAME=VALUE is wanted, as in seed=1")
    if equals and not value:
        raise ValueError(f"{argument}: the value is missing; for none say {argument}null")
    choices = sorted(path.stem for path in (conf_dir() / name.strip("+~")).glob("*.yaml"))
    parsed = _parsed(argument) if choices and equals else None
    if parsed and not parsed.is_sweep_override() and not isinstance(parsed.value(), str | list):
        raise ValueError(f"{argument}: choose one of {', '.join(choices)}")


def _check_argument(argument: str, cfg: DictConfig) -> None:
    """Refuse what composes and cannot be meant: a setting that is taken away, and a name that Hydra reads as a number.

    Raises:
        ValueError: The argument is one of them.
    """
    name = argument.partition("=")[0].lstrip("+~")
    section = OmegaConf.select(cfg, name.rpartition(".")[0]) if "." in name else cfg
    if argument.startswith("~") and "_target_" not in (section or ()):
        raise ValueError(f"{argument}: is needed, and what it is can be changed, as by {name}=")
    if name in TEXTS and not isinstance(OmegaConf.select(cfg, name), str | None):
        raise ValueError(f"{argument}: is read as another thing than a text; type {quoted(argument)}")


def _explained(error: Exception, overrides: Sequence[str], config: str, also: Sequence[str] = ()) -> str:
    """Say in one line which argument cannot be composed, and what may have been meant."""
    if unknown := re.search(r"Could not (?:override|find) '([\w./-]+)'", str(error)):
        return _unknown(unknown[1].replace("/", "="), "choice" if "/" in unknown[1] else "setting", config, also)
    for argument in overrides:
        if (parsed := _parsed(argument)) is None and _parsed(shlex.split(quoted(argument))[0]) is None:
            return _unknown(argument.partition("=")[0], "setting", config, also)
        if parsed is None or parsed.is_sweep_override():
            why = "cannot be read;" if parsed is None else "several values are for several runs (-m); to mean one,"
            return f"{argument}: {why} type {quoted(argument)}"
    guilty = next((argument for argument in overrides if not _composes(argument, config)), "together")
    return f"{guilty}: {str(error).splitlines()[0]}"


def _composes(argument: str, config: str) -> bool:
    try:
        with _hydra():
            OmegaConf.resolve(compose(config, [argument]))
    except HydraException:
        return False
    except OmegaConfBaseException:
        return "${" not in argument
    return True


def _unknown(name: str, kind: str, config: str, also: Sequence[str]) -> str:
    return f"{name}: there is no such {kind}{nearest(name, [*_names(config), *also])}; see conf/{config}.yaml"


def quoted(argument: str) -> str:
    """Quote the value of an override for Hydra, and the whole for a shell.

    >>> print(quoted("data.path=it's"))
    'data.path="it'"'"'s"'
    """
    name, _, value = argument.partition("=")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return shlex.quote(f'{name}="{escaped}"')


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _names(config: str) -> list[str]:
    """List settings with dots, groups, and choices as group=choice."""
    with _hydra():
        tree = OmegaConf.to_container(compose(config), resolve=False)
    names = [f"{path.parent.name}={path.stem}" for path in conf_dir().glob("*/*.yaml")]
    names += sorted({path.parent.name for path in conf_dir().glob("*/*.yaml")})

    def walk(section: Any, prefix: str) -> None:
        for key, value in section.items() if isinstance(section, dict) else ():
            names.append(f"{prefix}{key}")
            walk(value, f"{prefix}{key}.")

    walk(tree, "")
    return names
