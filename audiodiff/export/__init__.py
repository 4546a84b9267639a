"""Exporting: a vocoder or a generator as an ONNX file, which runs without torch.

What a graph cannot hold is written out in real numbers (`transforms`, `projection`, `networks`), solvers become lists
of numbers (`plans`), and the parts that are exported (`parts`, `generators`) are described (`targets`), written and
tried (`writing`).
"""

from audiodiff.export.writing import PARTS, check, export

__all__ = ["PARTS", "check", "export"]
