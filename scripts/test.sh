#!/usr/bin/env bash
# Lint, types and tests. Arguments go to pytest, for example
#   bash scripts/test.sh tests/explore -k strategy
#   bash scripts/test.sh -m slow
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
source scripts/setup.sh
set_up dev

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/basedpyright
.venv/bin/pytest "$@"
