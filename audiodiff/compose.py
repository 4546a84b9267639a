"""Composes the training configuration: Hydra's, outside of `python -m audiodiff.train`, and what its files refer to."""

from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from audiodiff.config import conf_dir, shipped_path

__all__ = ["composed", "fine_hop", "plain"]


def fine_hop(mel_hop_length: int, most: int = 160) -> int:
    """Returns the largest divisor of a mel's hop that is at most `most`: the default hop of a network.

    >>> [fine_hop(hop) for hop in (160, 256, 300, 441, 600)]
    [160, 128, 150, 147, 150]
    """
    return max(n for n in range(1, most + 1) if mel_hop_length % n == 0)


# In YAML, ${shipped:datasets/clips/speech} is a folder that comes with the package, wherever that is installed.
OmegaConf.register_new_resolver("shipped", lambda name: str(shipped_path(name)), replace=True)
OmegaConf.register_new_resolver("fine_hop", fine_hop, replace=True)
OmegaConf.register_new_resolver("times", lambda a, b: a * b, replace=True)
OmegaConf.register_new_resolver("ceil", lambda a, b: -(-a // b), replace=True)


def composed(overrides: Sequence[str] = ()) -> DictConfig:
    """Composes conf/train.yaml with overrides, as `python -m audiodiff.train OVERRIDE …` does.

    Raises:
        ValueError: An override names nothing that there is.

    >>> composed(["model=generator", "data.path=recordings"]).model.steps
    32
    """
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            return compose("train", list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"overrides {' '.join(overrides)}: {str(error).splitlines()[0]}") from None


def plain(section: Any) -> Any:
    """Resolves a section to plain dictionaries, lists and values."""
    return OmegaConf.to_container(section, resolve=True)
