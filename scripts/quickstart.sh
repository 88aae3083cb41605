#!/usr/bin/env bash
# The whole loop on one machine: a tiny model learns when to use code, beside plain RL.
# Run it again to go on after a stop. Further arguments go to `acim experiment`, for example
#   bash scripts/quickstart.sh --seeds 1 --out runs/one-seed
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
source scripts/setup.sh
set_up

out=runs/quickstart
previous=
for argument in "$@"; do
  if [ "$previous" = --out ]; then out=$argument; fi
  case $argument in --out=*) out=${argument#--out=} ;; esac
  previous=$argument
done
resume=()
if [ -e "$out/experiment.yaml" ]; then resume=(--resume); fi

.venv/bin/acim experiment configs/quickstart.yaml --out "$out" ${resume[@]+"${resume[@]}"} "$@"
echo "open $out/report.html in a browser"
