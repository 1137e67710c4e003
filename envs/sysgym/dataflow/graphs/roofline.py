"""Times of operators and fused groups by a roofline: launch, plus the longer of computing and moving bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sysgym.core.errors import UsageError
from sysgym.core.problem import Array

MOST_NS = 2**40  # about 18 minutes


@dataclass(frozen=True)
class Roofline:
    """A device that is either bound by arithmetic or by memory; the defaults are those of the shipped graphs (P100)."""

    peak_flops: float = 9.3e12  # per second
    bandwidth: float = 732e9  # bytes per second
    compute_efficiency: float = 0.6  # part of the peak that products reach
    memory_efficiency: float = 0.75  # part of the bandwidth that operators reach
    launch_ns: int = 5000  # of every operator

    def __post_init__(self) -> None:
        """UsageError unless every number is positive and finite, and efficiencies are at most 1."""
        for name in ("peak_flops", "bandwidth", "compute_efficiency", "memory_efficiency"):
            value = getattr(self, name)
            most = 1.0 if name.endswith("efficiency") else 1e21
            if not (math.isfinite(value) and 0 < value <= most):
                raise UsageError(f"{name.replace('_', ' ')} must be a positive number up to {most:g}, got {value}.")
        if not 0 <= self.launch_ns <= MOST_NS:
            raise UsageError(f"launch must be a number of nanoseconds from 0 to {MOST_NS}, got {self.launch_ns}.")

    def time_ns(self, flops: int, traffic: int) -> int:
        """Nanoseconds of an operator, rounded; `traffic` in bytes."""
        arithmetic = flops / (self.peak_flops * self.compute_efficiency)
        memory = traffic / (self.bandwidth * self.memory_efficiency)
        return self.launch_ns + round(max(arithmetic, memory) * 1e9)

    def work_ns(self, flops: Array, traffic: Array) -> Array:
        """The longer of computing and moving bytes, (G,) float64 nanoseconds of flops and traffic (G,)."""
        arithmetic = flops / (self.peak_flops * self.compute_efficiency)
        memory = traffic / (self.bandwidth * self.memory_efficiency)
        return np.asarray(np.maximum(arithmetic, memory) * 1e9)

    def times(self, flops: Array, traffic: Array) -> Array:
        """`time_ns` of many kernels, (G,) int64 of flops and traffic (G,) int64."""
        return np.asarray(self.launch_ns + np.rint(self.work_ns(flops, traffic)).astype(np.int64))

    @property
    def label(self) -> str:
        """What a graph says of the origin of its times."""
        if self == Roofline():
            return "p100"
        return (
            f"roofline {self.peak_flops:g} flop/s x {self.compute_efficiency:g}, {self.bandwidth:g} B/s x "
            f"{self.memory_efficiency:g}, launch {self.launch_ns} ns"
        )
