#!/usr/bin/env bash
# Everything that wants a GPU, in one call of at most nine minutes:
#
#     bash benchmarks/device/run.sh [--out DIR] [--reduced] [--parts a,b]
#
# It needs Python with jax, flax, optax and jaxtyping, and PyTorch for the
# comparison with it; nothing is installed. Results are `results.jsonl` and
# `results.md` in DIR (benchmarks/results/device when left out). A part that
# fails or takes too long is reported there, and the others run.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
# Memory is taken as it is needed: PyTorch runs in the same process.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
exec "${PYTHON:-python3}" -m benchmarks.device.run "$@"
