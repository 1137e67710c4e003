"""What is done to raw features before neighbours are looked for, by name, fitted on one set and applied to any.

| name | steps |
|---|---|
| `none` | nothing |
| `standard` | each column less its mean, over its standard deviation (ddof = 1); constant columns are 0 |
| `pca` | the first 50 principal components over their common standard deviation; pixels of 8 bits count as 0 to 1 |
| `deskew` | images of any size are sheared upright by their moments first, then as `pca` |
| `tfidf` | counts of words: sublinear tf-idf, 64 singular vectors, each row of length 1 |
| `unit` | the first 64 columns, each row of length 1 |

Version 1. Signs of components follow their largest entry; `affinity_graph` puts the result on a grid, so that rounding
that differs between machines does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sysgym.core.errors import UsageError, unknown
from sysgym.core.problem import Array

NAMES = ("none", "standard", "pca", "deskew", "tfidf", "unit")
FITTED = ("standard", "pca", "deskew", "tfidf")  # those that depend on the set they were fitted on
COMPONENTS, TOPICS = 50, 64
MOST = 1e30  # a coordinate
SIDE = 28  # of images, in pixels, once they are upright
BLOCK = 1000  # images that are sheared at once
Transform = Callable[[Any], Array]  # raw features (m, ...) to (m, d) float64


def fitted(name: str, raw: Any, source: str) -> Transform:
    """The preprocessing of a name, with means, components and frequencies of `raw`, the features of a training set.

    UsageError where they are of the wrong kind; `source` names them.
    """
    if name not in NAMES:
        raise unknown("preprocess", name, NAMES)
    _check_numbers(raw, source)
    if name == "tfidf":
        return _tfidf(raw, source)
    if name == "deskew":
        if np.ndim(raw) != 3:
            raise UsageError(f"{source}: preprocess=deskew needs images (n, height, width), got {np.shape(raw)}.")
        find = _principal(upright(raw))
        return lambda images: find(upright(images))
    flat = _flat(raw, source)
    if name == "none":
        return lambda given: _flat(given, source)
    if name == "unit":
        return lambda given: _rows_of_length_one(_flat(given, source)[:, :TOPICS])
    if name == "standard":
        mean, spread = flat.mean(axis=0), flat.std(axis=0, ddof=1)
        spread[spread == 0] = 1.0
        return lambda given: (_flat(given, source) - mean) / spread
    find = _principal(flat)
    return lambda given: find(_flat(given, source))


def _check_numbers(given: Any, source: str) -> None:
    """UsageError for anything but two or more rows of finite numbers that float64 holds, dense or sparse."""
    sparse = hasattr(given, "toarray")
    raw: Any = given if sparse else np.asarray(given)
    if raw.ndim < 2 or raw.dtype.kind not in "biuf" or raw.shape[0] < 2 or 0 in raw.shape:
        raise UsageError(
            f"{source}: expected two or more points, numbers of shape (n, d), got {raw.dtype} of shape {raw.shape}."
        )
    values = raw.tocoo().data if sparse else raw
    strange = ~np.isfinite(values)
    if strange.any():
        rows = raw.tocoo().row[strange] if sparse else np.nonzero(strange)[0]
        row = int(rows.min())
        raise UsageError(f"{source}: point {row} has a coordinate that is not finite; leave it out or fill it in.")
    if values.size and max(float(values.max()), -float(values.min())) > MOST:
        raise UsageError(f"{source}: coordinates must be from {-MOST:g} to {MOST:g}; scale the points.")
    if values.dtype.itemsize >= 8 and values.dtype != np.float64 and values.size:
        _check_exact(values, source)


def _check_exact(values: Array, source: str) -> None:
    """UsageError for numbers that are others in float64."""
    if values.dtype.kind == "f":
        exact = bool((values.astype(np.float64) == values).all())
    else:
        exact = int(values.max()) <= 2**53 and int(values.min()) >= -(2**53)
    if not exact:
        raise UsageError(
            f"{source}: coordinates of {values.dtype} do not fit float64; take a common offset off, or round them."
        )


def _flat(given: Any, source: str) -> Array:
    """Features as (n, d) float64; pixels of 8 bits as 0 to 1."""
    raw: Any = given.toarray() if hasattr(given, "toarray") else given
    raw = np.asarray(raw)
    if raw.ndim < 2 or raw.dtype.kind not in "biuf":
        raise UsageError(f"{source}: expected numbers of shape (n, d), got {raw.dtype} of shape {raw.shape}.")
    found: Array = raw.reshape(len(raw), -1).astype(np.float64)
    return found / 255 if raw.dtype == np.uint8 else found


def _principal(flat: Array) -> Transform:
    """Principal components of (n, d), over their common standard deviation."""
    from sklearn.decomposition import PCA

    model = PCA(min(COMPONENTS, *flat.shape), svd_solver="full" if len(flat) < flat.shape[1] else "covariance_eigh")
    with np.errstate(invalid="ignore"):  # shares of a variance of 0, where all points are equal
        found = model.fit_transform(flat)
    spread = float(found.std()) or 1.0
    return lambda given: np.asarray(model.transform(given) / spread)


def _tfidf(counts: Any, source: str) -> Transform:
    """Sublinear tf-idf of word counts (n, words), dense or sparse, and its first singular vectors."""
    from scipy.sparse import csr_array, issparse
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer

    def checked(given: Any) -> Any:
        matrix: Any = given if issparse(given) else np.asarray(given)
        values = matrix.tocoo().data if issparse(given) else matrix
        if matrix.ndim != 2 or (values < 0).any() or (values != np.rint(values)).any():
            raise UsageError(f"{source}: preprocess=tfidf needs counts of words (n, words), whole and not negative.")
        return csr_array(matrix).astype(np.float64)

    weigh = TfidfTransformer(norm="l2", sublinear_tf=True)
    weighed = weigh.fit_transform(checked(counts))
    most = min(TOPICS, min(weighed.shape) - 1)
    if most < 1 or not weighed.nnz:
        raise UsageError(f"{source}: preprocess=tfidf needs two documents and two words at least, and some counts.")
    with np.errstate(divide="ignore", invalid="ignore"):  # shares of a variance of 0, where all documents are equal
        model = TruncatedSVD(most, algorithm="arpack", random_state=0).fit(weighed)
    return lambda given: _rows_of_length_one(model.transform(weigh.transform(checked(given))))


def _rows_of_length_one(rows: Array) -> Array:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0))


def upright(images: Any) -> Array:
    """Images (n, h, w) as (n, 784) float64, smaller ones in the middle of 28 x 28 (those of 16 x 16 at 20 x 20, as
    MNIST has its digits), sheared so that their vertical moments stand upright.
    """
    images = np.asarray(images)
    if images.min(initial=0) < 0:
        raise UsageError(
            f"preprocess=deskew needs pixels of 0 or more, which weigh the moments, got {images.min():.3g}; take the "
            "images before they were centred."
        )
    found = np.empty((len(images), SIDE, SIDE))
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    for first in range(0, len(images), BLOCK):
        block = images[first : first + BLOCK] / scale
        if block.shape[1:] != (SIDE, SIDE):
            block = np.stack([_framed(image) for image in block])
        _shear(np.ascontiguousarray(block, np.float64), found[first : first + BLOCK])
    return found.reshape(len(images), -1)


def _framed(image: Array) -> Array:
    from scipy.ndimage import zoom

    if image.shape == (SIDE, SIDE):
        return image
    if max(image.shape) > SIDE:
        raise UsageError(f"preprocess=deskew is for images of up to {SIDE} x {SIDE} pixels, got {image.shape}.")
    low, high = min(float(image.min()), 0.0), max(float(image.max()), 1.0)
    large = np.clip(zoom(image, 20 / max(image.shape), order=1), low, high) if max(image.shape) < 20 else image
    found = np.zeros((SIDE, SIDE))
    top, left = ((SIDE - side) // 2 for side in large.shape)
    found[top : top + large.shape[0], left : left + large.shape[1]] = large
    return found


def _shear(images: Array, found: Array) -> None:
    """Fill `found` (b, 28, 28) with images (b, 28, 28) whose moments are made to stand upright; empty ones stay."""
    from sysgym.clustering.image_kernels import sheared

    def total(weighed: Array) -> Array:
        return np.asarray(weighed.reshape(len(images), -1).sum(axis=1))

    mass = total(images)
    some = np.where(mass != 0, mass, 1.0)
    y, x = np.mgrid[: images.shape[1], : images.shape[2]]
    middle = np.stack([total(y * images) / some, total(x * images) / some], axis=1)
    dy, dx = y - middle[:, 0, None, None], x - middle[:, 1, None, None]
    vertical = total(dy**2 * images) / some
    shears = np.where(vertical > 0, total(dy * dx * images) / some / np.where(vertical > 0, vertical, 1.0), 0.0)
    matrices = np.zeros((len(images), 2, 2))
    matrices[:, 0, 0] = matrices[:, 1, 1] = 1.0
    matrices[:, 1, 0] = shears
    sheared(images, shears, middle - matrices @ ((np.array(images.shape[1:]) - 1) / 2), found)
    found[mass == 0] = images[mass == 0]
