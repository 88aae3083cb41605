#!/usr/bin/env bash
# EM beside GRPO on Qwen2.5-Coder-0.5B-Instruct, from its published weights, on one GPU of 80 GB: the
# model demonstrates both decisions, is warmed up on them, and both arms start from there.
#
#   bash scripts/gpu_real_model.sh MODEL DATA OUT [OPTION ...]
#   ACIM_SHARE=100 bash scripts/gpu_real_model.sh MODEL DATA OUT     # a hundredth, e.g. on a CPU
#
# MODEL: the Hugging Face folder. DATA: a folder with gsm8k_train.jsonl.gz, gsm8k_test.jsonl,
# svamp_test.jsonl and math500_test.jsonl. OUT: what is made; run the script again to go on after a
# stop. Options go to `acim experiment`. PYTHON (default: .venv's) must have the packages of
# pyproject.toml; nothing is installed or downloaded. OUT/experiment/report.html is the result.
set -euo pipefail
if [ $# -lt 3 ]; then sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 2; fi
model=$1 data=$2 out=$3
shift 3
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$here/.venv/bin/python}
share=${ACIM_SHARE:-1}
export PYTHONPATH=$here:$here/kernels${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1
acim() { "$python" -m acim_jax.cli.main "$@"; }
# A share of a number, and at least $2.
of() { echo $(($1 / share > $2 ? $1 / share : $2)); }

mkdir -p "$out"
if [ ! -e "$out/gsm8k_train.jsonl" ]; then
  gzip -dc "$data/gsm8k_train.jsonl.gz" >"$out/gsm8k_all.jsonl"
  tail -n 500 "$out/gsm8k_all.jsonl" >"$out/gsm8k_validation.jsonl"
  head -n -500 "$out/gsm8k_all.jsonl" >"$out/gsm8k_train.jsonl"
  rm "$out/gsm8k_all.jsonl"
fi

date -u +'%T demonstrations'
acim demonstrate --model "$model" --markup name=qwen2.5-math-tir \
  --data "$out/gsm8k_train.jsonl" generated:numbers --limit "$(of 200 3)" \
  --samples "$(of 4 2)" --slots "$(of 512 16)" --max-length 640 --out "$out/demonstrations.jsonl"

date -u +'%T experiment'
resume=()
if [ -e "$out/experiment/experiment.yaml" ]; then resume=(--resume); fi
sizes=()
if [ "$share" != 1 ]; then
  sizes=(
    --warmup.steps "$(of 64 4)" --warmup.rows 4 --warmup.lr_warmup 1
    --explore.problems "$(of 128 4)" --improve.minibatches 2 --improve.microbatch_rows 4
    --sampling.slots "$(of 512 16)" --sampling.prefill_rows 4 --executor.workers 2
    --data.num_test "$(of 100 2)" --data.num_validation "$(of 64 4)"
    --evaluation.curve_problems "$(of 64 4)" --run.iterations 2
  )
fi
acim experiment "$here/configs/qwen2.5-coder-0.5b-gpu.yaml" --out "$out/experiment" \
  ${resume[@]+"${resume[@]}"} --model.path "$model" \
  --data.train "[$out/gsm8k_train.jsonl, 'generated:numbers']" \
  --data.validation "[$out/gsm8k_validation.jsonl, 'generated:numbers']" \
  --data.test "[$data/gsm8k_test.jsonl, $data/svamp_test.jsonl, 'generated:numbers', $data/math500_test.jsonl]" \
  --data.demonstrations "$out/demonstrations.jsonl" ${sizes[@]+"${sizes[@]}"} "$@"
date -u +'%T done'
