#!/usr/bin/env bash
# Build the console in the browser from api/doors/console/app; with --check only say whether the
# committed result is what comes out. The service itself needs no Node.
set -euo pipefail
cd "$(dirname "$0")/../api/doors/console/app"
if [ ! -d node_modules ] || ! command -v node >/dev/null; then
    echo "the console is not built or checked: Node and its packages are missing; \`make parts\` installs them" >&2
    if [ "${CI:-}" = true ] || [ "${1:-}" != --check ]; then exit 1; fi
    exit 0
fi
node_modules/.bin/tsc --noEmit
node build.mjs "$@"
