"""Correctness and speed on one GPU: `bash benchmarks/device/run.sh`."""
