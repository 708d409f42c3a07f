"""Benchmarks: ours, a peer and a plain loop side by side in one run; medians and ratios. Nothing in the tests is timed."""
