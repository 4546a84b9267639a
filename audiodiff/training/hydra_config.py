"""Compose the training configuration: Hydra's, outside of `python -m audiodiff.train`, and what its files refer to."""

import contextlib
import re
import shlex
from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from audiodiff.utils.config import build, conf_dir, shipped_path
from audiodiff.utils.validation import nearest

__all__ = ["check_overrides", "composed", "fine_hop", "plain", "quoted", "set_output_rate"]


def fine_hop(mel_hop_length: int, most: int = 160) -> int:
    """Return the largest divisor of a mel's hop that is at most `most`: the default hop of a network.

    >>> [fine_hop(hop) for hop in (160, 256, 300, 441, 600)]
    [160, 128, 150, 147, 150]
    """
    return max(n for n in range(1, most + 1) if mel_hop_length % n == 0)


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
    for argument in arguments:
        if re.fullmatch(r"[+~]{0,2}[\w./@]+=", argument):
            raise ValueError(f"{argument}: the value is missing; for none say {argument}null")
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose(config, [argument for argument in arguments if not argument.startswith("-")])
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(_explained(error, arguments, config, also)) from None


def _explained(error: Exception, arguments: Sequence[str], config: str, also: Sequence[str] = ()) -> str:
    """Say in one line which argument cannot be composed, and what may have been meant."""
    if unknown := re.search(r"Could not (?:override|find) '([\w./-]+)'", str(error)):
        name, wanted = unknown[1].replace("/", "="), "choice" if "/" in unknown[1] else "setting"
        meant = nearest(name, [*_names(config), *also])
        return f"{name}: there is no such {wanted}{meant}; see conf/{config}.yaml"
    for argument in arguments:
        if not argument.startswith("-") and not _is_readable(argument):
            return f"{argument}: cannot be read; type {quoted(argument)}"
    return str(error).splitlines()[0]


def quoted(argument: str) -> str:
    """Quote the value of an override for Hydra, and the whole for a shell.

    >>> print(quoted("data.path=it's"))
    'data.path="it'"'"'s"'
    """
    name, _, value = argument.partition("=")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return shlex.quote(f'{name}="{escaped}"')


def _is_readable(argument: str) -> bool:
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return True


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
