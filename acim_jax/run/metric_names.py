"""The names of all metrics in `metrics.jsonl`: who writes or reads one takes it from here.

A count by an enumeration (how rollouts stopped, how programs ended, why rollouts were dropped) has
one name a member, so a new member cannot be missing from the metrics.
"""

import enum
from collections.abc import Mapping
from typing import Any


class Metric(enum.StrEnum):
    """Shares and means lie in [0, 1] unless said otherwise; `time/*` are seconds
    unless said otherwise."""

    ROLLOUTS = "rollouts"  # training rollouts since the start
    STAGE = "stage"  # of a run with stages, counted from 1

    REWARD = "explore/reward"
    CODE_RATE = "explore/code_rate"
    USABLE_GROUPS = "explore/usable_groups"  # groups with a baseline whose rewards differ
    VALUE_TEXT = "explore/value_text"  # mean Q̂(x, text)
    VALUE_CODE = "explore/value_code"
    VALUE_STDERR = "explore/value_stderr"
    POLICY_CODE = "explore/policy_code"  # mean π̂(code|x)
    POLICY_MASS = "explore/policy_mass"
    STRATEGY_CODE = "explore/strategy_code"  # mean s*(code|x)
    DEAD_QUERIES = "explore/dead_queries"  # count: tried both ways, never solved
    RESPONSE_TOKENS = "explore/response_tokens"  # mean per rollout
    FENCES_OPENED = "explore/fences_opened"  # mean per rollout
    SAMPLED_TOKENS = "explore/sampled_tokens"  # count
    GRADER_TIMEOUTS = "explore/grader_timeouts"  # count
    OVERLONG = "explore/overlong"  # count: rollouts whose reward their length lowered
    KEPT = "curate/kept"  # count
    REFLECTIONS = "curate/reflections"  # count: answers made of two rollouts, beside the kept

    POLICY_LOSS = "train/policy_loss"
    DECISION_LOSS = "train/decision_loss"
    REPLAY_LOSS = "train/replay_loss"
    RATIO_MEAN = "train/ratio_mean"
    CLIP_FRACTION = "train/clip_fraction"
    KL = "train/kl"  # nats per target token
    ESS = "train/ess"  # effective share of the target tokens, by their weights π/μ
    CORRECTION_FRACTION = "train/correction_fraction"  # of target tokens: truncated or masked
    REFERENCE_KL = "train/reference_kl"  # nats per target token
    ENTROPY = "train/entropy"  # nats per target token with a bonus
    TARGET_TOKENS = "train/target_tokens"  # count
    RECOMPUTED_FRACTION = "train/recomputed_fraction"  # of the rows: log μ is the trainer's
    STALE_FRACTION = "train/stale_fraction"  # of the rows: sampled by earlier iterations
    DRAWN_TOKENS = "train/drawn_tokens"  # expected count, with and without an advantage
    STEPS = "train/steps"  # count
    GRAD_NORM = "train/grad_norm"
    GRAD_NORM_POLICY = "train/grad_norm_policy"  # of one term, mean over the steps that it led
    GRAD_NORM_DECISION = "train/grad_norm_decision"
    GRAD_NORM_REPLAY = "train/grad_norm_replay"
    SKIPPED_STEPS = "train/skipped_steps"  # count: gradients that were not finite
    MISMATCH = "train/mismatch"  # sampler against trainer: mean |Δ log-prob|, nats a token
    MISMATCH_LARGEST = "train/mismatch_largest"  # nats
    MISMATCH_OFF_01 = "train/mismatch_off_01"  # ratios off by more than 0.1 %
    MISMATCH_OFF_1 = "train/mismatch_off_1"
    MISMATCH_OFF_5 = "train/mismatch_off_5"
    MISMATCH_KL = "train/mismatch_kl"  # nats a token
    LR = "train/lr"

    EVAL_N = "eval/n"  # problems
    ACCURACY = "eval/accuracy"
    ACCURACY_STDERR = "eval/accuracy_stderr"
    SAMPLED_ACCURACY = "eval/sampled_accuracy"  # avg@k, as training samples
    SAMPLED_ACCURACY_STDERR = "eval/sampled_accuracy_stderr"
    SAMPLED_CODE_RATE = "eval/sampled_code_rate"
    SAMPLED_PASS = "eval/sampled_pass"  # solved by one of k
    EVAL_CODE_RATE = "eval/code_rate"
    SELECTION_ACCURACY = "eval/selection_accuracy"
    POLICY_CODE_ON_CODE = "eval/policy_code_on_code_favoured"
    POLICY_CODE_ON_TEXT = "eval/policy_code_on_text_favoured"
    EXECUTIONS = "eval/executions_per_problem"  # mean
    ALWAYS_TEXT = "eval/always_text"
    ALWAYS_CODE = "eval/always_code"
    ORACLE = "eval/oracle"

    # Of the sampler's own work; a resumed iteration counts what it made itself.
    PREFILL_TOKENS = "time/prefill_tokens"  # count
    NEAR_TIES = "time/near_ties"  # count
    TIME_EXPLORE = "time/explore"
    TIME_EXECUTE = "time/execute"  # part of explore: nothing to decode, programs run
    FULL_SLOTS = "time/full_slots"  # share of the decode slots' steps that sampled a token
    TIME_IMPROVE = "time/improve"
    TIME_EVALUATE = "time/evaluate"
    TIME_SAVE = "time/save"  # of the iteration before
    TIME_TOTAL = "time/total"
    GRADE_P95 = "time/grade_p95"  # of an answer
    GRADE_SLOWEST = "time/grade_slowest"
    PROGRAM_P50 = "time/program_p50"
    PROGRAM_P95 = "time/program_p95"
    PROGRAM_WAIT_P50 = "time/program_wait_p50"
    PROGRAM_WAIT_P95 = "time/program_wait_p95"

    COMPILE_COUNT = "compile/count"  # executables made in the iteration
    COMPILE_SECONDS = "compile/seconds"


class DomainMetric(enum.StrEnum):
    """What is written of each domain of `explore.mix`, as `domain/NAME/…`: of an iteration's
    rollouts, and `accuracy` of the learning curve's problems of that domain."""

    PROBLEMS = "problems"  # count
    REWARD = "reward"
    SOLVED = "solved"  # share of rollouts that are right in full
    CODE_RATE = "code_rate"
    USABLE_GROUPS = "usable_groups"
    RESPONSE_TOKENS = "response_tokens"  # mean per rollout
    KEPT = "kept"  # count
    ACCURACY = "accuracy"


#: What the names of a domain's metrics begin with.
DOMAIN = "domain/"
#: What the names of counts by `records.Status`, `Stop` and `DropReason` begin with.
EXECUTIONS_BY_STATUS = "explore/executions/"
ROLLOUTS_BY_STOP = "explore/stop/"
DROPPED_BY_REASON = "curate/dropped/"


def by_member(prefix: str, kind: type[enum.StrEnum], counts: Mapping[Any, int]) -> dict[str, float]:
    """A count for each member of `kind`, met or not."""
    return {f"{prefix}{member}": float(counts.get(member, 0)) for member in kind}


def of_domain(name: str, values: Mapping[DomainMetric, Any]) -> dict[str, Any]:
    return {f"{DOMAIN}{name}/{metric}": value for metric, value in values.items()}


def of_fields(stage: str, record: Any) -> dict[str, Any]:
    """The fields of a NamedTuple as `stage/field`; ValueError for one that has no name above."""
    return {Metric(f"{stage}/{name}"): value for name, value in record._asdict().items()}
