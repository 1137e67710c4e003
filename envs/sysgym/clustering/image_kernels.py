"""Kernel that shears images, bit for bit as `scipy.ndimage.affine_transform` of order 1 does one by one."""

from __future__ import annotations

import numpy as np

from sysgym.compiled import njit


@njit
def sheared(images, shears, offsets, found):
    """Fill `found` (n, h, w) with images (n, h, w): its pixel (a, b) is what stands, between pixels, at row `a +
    offsets[i, 0]` and column `shears[i] * a + b + offsets[i, 1]` of image i; 0 outside.
    """
    height, width = images.shape[1], images.shape[2]
    for i in range(len(images)):
        for a in range(height):
            y = offsets[i, 0] + a
            row = int(np.floor(y))
            above = 1.0 - (y - row)
            below = 1.0 - above  # not y - row: what scipy rounds
            for b in range(width):
                x = offsets[i, 1] + shears[i] * a + b
                total = 0.0
                if 0.0 <= y <= height - 1 and 0.0 <= x <= width - 1:
                    column = int(np.floor(x))
                    left = 1.0 - (x - column)
                    right = 1.0 - left
                    lower = row + 1 if row + 1 < height else height - 2  # counts 0
                    other = column + 1 if column + 1 < width else width - 2
                    total += images[i, row, column] * above * left
                    total += images[i, row, other] * above * right
                    total += images[i, lower, column] * below * left
                    total += images[i, lower, other] * below * right
                found[i, a, b] = total
