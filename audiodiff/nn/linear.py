"""Linear layers over many rows, by the faster of the two libraries that torch has for products on a CPU."""

from torch import Tensor, nn
from torch.nn import functional

from audiodiff.utils import devices

FEW = 20480  # values in which torch keeps even a convolution from oneDNN


class Linear(nn.Linear):
    """Map [..., in_features] to [..., out_features] as `nn.Linear`, whose weights it has.

    In float32 torch leaves products to MKL, which uses half the width of AMD's vector units, and convolutions to
    oneDNN, which uses all of it. There the product of many rows is a convolution with one tap, in half the time.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., in_features] to [..., out_features]."""
        if x.numel() <= FEW or not devices.convolutions_are_faster(x):
            return super().forward(x)
        rows = x.reshape(1, 1, -1, self.in_features).permute(0, 3, 1, 2)  # a picture of one line, channels last
        # One tap has no dilation, but torch takes a single-threaded convolution to oneDNN only if it has some.
        out = functional.conv2d(rows, self.weight[:, :, None, None], self.bias, dilation=2)
        return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_features)
