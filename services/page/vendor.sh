#!/usr/bin/env bash
# Rebuilds static/vendor: the library of the page as one module without dependencies. Needs Node and npm.
# The versions are pinned here, so that a rebuild gives the same bytes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --no-audit --no-fund --save-exact lit@3.3.3 esbuild@0.28.2 >/dev/null
cat >lit.js <<'END'
export * from "lit";
export { classMap } from "lit/directives/class-map.js";
export { live } from "lit/directives/live.js";
export { repeat } from "lit/directives/repeat.js";
export { styleMap } from "lit/directives/style-map.js";
END
mkdir -p "$here/static/vendor"
npx esbuild lit.js --bundle --format=esm --minify --target=es2022 --legal-comments=none \
  --outfile="$here/static/vendor/lit.js" --log-level=warning
cp node_modules/lit/LICENSE "$here/static/vendor/lit.LICENSE"
