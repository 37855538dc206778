#!/usr/bin/env bash
# Unpack the pieces that pack.sh made, and measure this machine's GPU. Arguments go to `python -m benchmarks.gpu`.
#
#   bash benchmarks/gpu/run.sh --out gpu.json
#   PIECES=folder SITE=folder bash benchmarks/gpu/run.sh …    # where the pieces are, where they are unpacked to
set -euo pipefail
cd "$(dirname "$0")/../.."
PIECES=${PIECES:-.gpukit}
SITE=${SITE:-/tmp/gpukit-site}
PYTHON=${PYTHON:-python3}
if [ ! -e "$SITE/.complete" ]; then
  mkdir -p "$SITE"
  cat "$PIECES"/piece-* | xz -d -T0 | tar -C "$SITE" -xi
  touch "$SITE/.complete"
fi
# Last in the path, so that what the machine has wins: its torch must find its own libraries.
SITE_PACKAGES=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
export PYTHONPATH="$PWD:$SITE_PACKAGES:$SITE${PYTHONPATH:+:$PYTHONPATH}"
export COMMIT=${COMMIT:-$(cat "$PIECES/commit" 2>/dev/null || true)} HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
exec "$PYTHON" -m benchmarks.gpu "$@"
