"""Enlarged colours, smoothed: most JPEGs hold colours at half the size, and codecs enlarge them in two ways.

libjpeg, which decodes on the CPU, interpolates between the halved colours. nvJPEG repeats them, as torchvision uses it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BLOCKS = {"4:2:2": (1, 2), "4:2:0": (2, 2)}
"""Rows and columns that share one colour, by sampling of the colours."""
_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114
"""Parts of the brightness Y of a colour (JFIF, after ITU-R BT.601)."""
_CR, _CB = 2 * (1 - _RED), 2 * (1 - _BLUE)
"""R − Y = `_CR` · Cr, and B − Y = `_CB` · Cb."""


def smoothed(levels: "torch.Tensor", block: tuple[int, int]) -> "torch.Tensor":
    """Interpolate, in place, the colours of images (n, 3, height, width), float32 RGB, where a codec repeated them.

    The colours of a JPEG are whole numbers, so they are found again exactly, unless levels were cut off at 0 or 255.
    The brightness of each pixel stays.

    Args:
        block: see `BLOCKS`.
    """
    import torch
    from torch.nn.functional import avg_pool2d, interpolate

    height, width = levels.shape[2:]
    red, green, blue = avg_pool2d(levels, block, ceil_mode=True, count_include_pad=False).unbind(1)
    brightness = _RED * red + _GREEN * green + _BLUE * blue
    halved = torch.stack([(red - brightness) / _CR, (blue - brightness) / _CB], 1).round_()
    whole = [side * times for side, times in zip(halved.shape[2:], block, strict=True)]
    change = interpolate(halved, whole, mode="bilinear", align_corners=False).add_(0.5).floor_()
    change -= interpolate(halved, whole)
    cr, cb = change[..., :height, :width].unbind(1)
    levels[:, 0].add_(cr, alpha=_CR)
    levels[:, 1].sub_(cr, alpha=_CR * _RED / _GREEN).sub_(cb, alpha=_CB * _BLUE / _GREEN)
    levels[:, 2].add_(cb, alpha=_CB)
    return levels
