#!/usr/bin/env bash
# Runs the tests of the training code with a Python that has PyTorch: $PYTHON, python3, or Debian's, which is installed if there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

has_torch() {
    command -v "$1" >/dev/null && "$1" -c 'import sys, torch, numpy, scipy, PIL; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}
for python in ${PYTHON:-} python3 /usr/bin/python3; do
    has_torch "$python" && break
    python=
done
if [ -z "$python" ]; then
    scripts/setup.sh training
    python=/usr/bin/python3
    has_torch $python || { echo "test-training: no Python 3.11 with PyTorch, NumPy, SciPy and Pillow" >&2; exit 1; }
fi
cd training
"$python" -m unittest discover -s tests -t .
