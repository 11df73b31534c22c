"""Benchmarks: one file per question, the peers measured side by side in the same run. `python -m benchmarks --help`."""
