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
if [ $# -gt 0 ]; then
  .venv/bin/pytest "$@"
  exit
fi

# Two processes, since a test seldom keeps two cores busy. What the second one says comes last.
apart=(tests/attacks tests/checkpoint tests/cli tests/config tests/data tests/environment
  tests/evaluation tests/explore
  tests/files tests/grading tests/improve tests/kernels tests/markup)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
.venv/bin/pytest "${apart[@]}" >"$log" 2>&1 &
second=$! status=0
.venv/bin/pytest tests "${apart[@]/#/--ignore=}" || status=$?
wait "$second" || status=$?
cat "$log"
exit "$status"
