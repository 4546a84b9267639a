"""Exporting: a vocoder or a generator as an ONNX file, which runs without torch.

What a graph cannot hold is written out in real numbers (`transforms`, `projection`, `networks`), solvers become lists
of numbers (`plans`), and the parts that are exported (`parts`, `generators`) are described (`targets`), written and
tried (`writing`), for any runtime or for a host with a contract of its own (`hosts`, `sherpa_onnx`, `open_utau`).
"""

from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_names

if TYPE_CHECKING:
    from audiodiff.export.host_names import companions as companions
    from audiodiff.export.writing import OPSET as OPSET
    from audiodiff.export.writing import PARTS as PARTS
    from audiodiff.export.writing import check as check
    from audiodiff.export.writing import export as export

__getattr__, __dir__, __all__ = lazy_names(__name__)
