"""Benchmarks: every module here with a function `rows(quick)` is one area of `sysgym bench`."""
