"""Accelerator design: a datapath, a schedule and what stays in on-chip memory, for the workloads that it runs."""
