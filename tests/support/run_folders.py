"""Synthetic experiment folders in the format that `acim experiment` leaves, deterministic by seed.

The figures follow a story (EM learns when to use code, RL does not), so a page made of them can
also be looked at; tests recompute what they assert from the files.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

FAMILIES = {"mul": 0.9, "lastdigit": -0.8, "gcd": 0.4}
LEVELS = ("0", "1", "2")
ROLLOUTS = 32
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
CLOSING = "</script><!-- ]]> <b>bold</b> 'quoted' & \u2028 \x07 é 𝔸"


def write_experiment(
    folder: Path,
    *,
    arms: Sequence[str] = ("em", "rl"),
    seeds: int = 2,
    iterations: int = 3,
    families: dict[str, float] | None = None,
) -> Path:
    """Writes run folders for every arm and seed, and results.json. families: name → code's gain."""
    families = families or FAMILIES
    folder.mkdir(parents=True)
    finals: dict[str, list[dict[str, float]]] = {}
    for arm in arms:
        for seed in range(seeds):
            run = folder / f"{arm}-seed{seed}"
            write_run(run, method=arm, seed=seed, iterations=iterations, families=families)
            results = json.loads((run / "evaluation/final/results.json").read_text())
            entry = results["data"]["generated:arithmetic"]
            finals.setdefault(arm, []).append(
                {k: entry["native"][k] for k in ("accuracy", "code_rate", "executions_per_problem")}
                | {"selection_accuracy": entry["decisions"]["selection_accuracy"]}
            )
    _dump(folder / "results.json", {
        "arms": {
            arm: {
                "label": arm.upper(), "rollouts": ROLLOUTS * iterations,
                "seeds": list(range(seeds)),
                **{key: {"per_seed": [f[key] for f in per_seed]} for key in per_seed[0]},
            }
            for arm, per_seed in finals.items()
        },
        "start": {
            "n": 400, "code_prior": 0.021, "native": {"accuracy": 0.42}, "text": {"accuracy": 0.44},
            "code": {"accuracy": 0.58}, "oracle": {"accuracy": 0.93},
        },
        "seconds": 540.0, "hardware": {"cores": 2}, "config": {},
    })  # fmt: skip
    return folder


def write_run(
    folder: Path, *, method: str, seed: int, iterations: int, families: dict[str, float]
) -> Path:
    """Writes one run folder with everything a report can read."""
    random = np.random.default_rng([seed, len(method), ord(method[0])])
    for part in ("episodes", "values", "evaluation/start", "evaluation/final"):
        (folder / part).mkdir(parents=True)
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"method": method, "seed": seed, "run": {"note": HOSTILE}})
    )
    _dump(folder / "manifest.json", {"jax": "0.10.2", "note": CLOSING})
    _lines(folder / "metrics.jsonl", [_metrics(method, i, iterations, random)
                                      for i in range(iterations + 1)])  # fmt: skip
    for iteration in range(1, iterations + 1):
        name = f"iteration_{iteration:04d}.jsonl"
        learned = _learned(method, iteration, iterations)
        rows = [_episode(method, learned, iteration, k, families, random) for k in range(ROLLOUTS)]
        _lines(folder / "episodes" / name, rows)
        values = [_values(method, learned, k, families, random) for k in range(24)]
        _lines(folder / "values" / name, values)
    for when, learned in (("start", 0.0), ("final", _learned(method, iterations, iterations))):
        _evaluation(folder / "evaluation" / when, learned, families, random)
    _lines(folder / "evaluation/final/episodes.jsonl", [
        {k: v for k, v in _episode(method, 1.0, 1, k, families, random).items()
         if k not in ("question", "gold", "stratum", "advantage", "iteration")}
        | {"guide": "native"}
        for k in range(4)
    ])  # fmt: skip
    return folder


def _learned(method: str, iteration: int, iterations: int) -> float:
    """How far the policy has come, from 0 to 1."""
    return float(1 / (1 + np.exp(6 - 11 * iteration / iterations))) if method == "em" else 0.0


def _policy(learned: float, gain: float) -> float:
    return 0.02 + learned * (0.96 if gain > 0 else 0.0)


def _metrics(
    method: str, iteration: int, iterations: int, random: np.random.Generator
) -> dict[str, float | None]:
    learned = _learned(method, iteration, iterations) if iteration else 0.0
    row: dict[str, float | None] = {
        "iteration": iteration,
        "rollouts": ROLLOUTS * iteration,
        "eval/n": 200,
        "eval/accuracy": 0.42 + 0.48 * learned + 0.02 * random.random(),
        "eval/accuracy_stderr": 0.03,
        "eval/code_rate": 0.02 + 0.6 * learned,
        "eval/selection_accuracy": 0.42 + 0.56 * learned + 0.02 * random.random(),
        "eval/policy_code_on_code_favoured": _policy(learned, 1.0) - 0.01 * random.random(),
        "eval/policy_code_on_text_favoured": 0.02 + 0.01 * random.random(),
        "eval/executions_per_problem": None,
        "time/evaluate": 2.0,
        "time/total": 2.0,
        "compile/count": 9 if iteration < 2 else 0,
    }
    if iteration == 0:
        return row | {"eval/always_text": 0.44, "eval/always_code": 0.58, "eval/oracle": 0.93}
    return row | {
        "explore/executions/ok": int(random.integers(8, 14)),
        "explore/executions/timeout": int(random.integers(0, 4)),
        "explore/executions/error": int(random.integers(0, 3)),
        "explore/stop/eos": ROLLOUTS - 2,
        "explore/stop/length": 2,
        "curate/kept": 14,
        "curate/dropped/agree": int(random.integers(3, 9)),
        "curate/dropped/not_drawn": 5,
        "train/grad_norm_policy": None if iteration == 2 else 0.1 * iteration,
        "train/grad_norm_decision": 8.0 / iteration + random.random() if method == "em" else None,
        "train/grad_norm_replay": 0.25,
        "time/explore": 10.0 + random.random(),
        "time/execute": 3.0 + random.random(),
        "time/improve": 5.0 + random.random(),
        "time/total": 20.0,
    }


def _pick(k: int, families: dict[str, float]) -> tuple[str, str, float]:
    names = list(families)
    family = names[(k // 4) % len(names)]
    return family, LEVELS[(k // 4) // len(names) % 3], families[family]


def _episode(
    method: str, learned: float, iteration: int, k: int, families: dict[str, float],
    random: np.random.Generator,
) -> dict[str, object]:  # fmt: skip
    """Four rollouts a problem; EM's are guided but for the last of them."""
    family, level, gain = _pick(k, families)
    guide = ("text", "code", "code", "native")[k % 4] if method == "em" else "native"
    native = "code" if random.random() < max(_policy(learned, gain), 0.15) else "text"
    decision = native if guide == "native" else guide
    right = bool(random.random() < 0.5 + 0.45 * gain * (1 if decision == "code" else -1))
    a, b = int(random.integers(11, 99)), int(random.integers(11, 99))
    gold = str(a * b)
    prompt, answer = f"Problem: What is {a} * {b}?\nSolution: ", gold if right else str(a * b + 10)
    status = "ok" if right else ("timeout", "error")[int(random.integers(2))]
    forced = "Let me write Python code.\n```python\n" if decision == "code" else "Let me think.\n"
    body = f"print({a} * {b})\n```" if decision == "code" else f"{a} * {b} = {answer}.\n"
    shown = {"ok": answer, "timeout": "[timed out]", "error": "NameError: name 'x' is not defined"}
    output = f"\n```output\n{shown[status]}\n```\n"
    segments = [_segment("PROMPT", prompt, random)]
    if guide == "native":
        body = forced + body
    else:
        segments.append(_segment("FORCED", forced, random))
    segments.append(_segment("MODEL", body, random))
    executions: list[dict[str, object]] = []
    if decision == "code":
        segments.append(_segment("OUTPUT", output, random))
        segments.append(_segment("MODEL", f"\\boxed{{{answer}}}", random))
        executions.append({
            "code": f"print({a} * {b})", "stdout": answer, "stderr": "" if right else shown[status],
            "status": status, "wall_s": 0.01, "truncated": False,
        })  # fmt: skip
    if k == 1 and iteration == 1:
        segments[-1]["text"] = f"{HOSTILE}\n{CLOSING}"
    return {
        "iteration": iteration, "file": "generated:arithmetic", "sample": k % 4,
        "problem_id": f"{family}-{level}-{k // 4}", "stratum": f"{family}/{level}",
        "question": CLOSING if k == 2 else f"What is {a} * {b}?", "gold": gold, "guide": guide,
        "decision": decision, "reward": float(right), "answer": answer if right else None,
        "stop": "eos" if k % 16 else "length", "segments": segments, "executions": executions,
        "advantage": None if k % 5 == 0 else round(float(random.normal()), 3),
    }  # fmt: skip


def _segment(author: str, text: str, random: np.random.Generator) -> dict[str, object]:
    n = max(1, len(text) // 3)
    logprobs = (-random.exponential(0.4, n)).round(4).tolist() if author == "MODEL" else None
    ids = random.integers(0, 600, n).tolist()
    return {"author": author, "text": text, "token_ids": ids, "logprobs": logprobs}


def _values(
    method: str, learned: float, k: int, families: dict[str, float], random: np.random.Generator
) -> dict[str, object]:
    family, level, gain = _pick(4 * k, families)
    policy = _policy(learned, gain)
    row: dict[str, object] = {
        "problem_id": f"{family}-{level}-{k}", "stratum": f"{family}/{level}",
        "policy": [1 - policy, policy], "mass": 0.97, "strategy": None,
    }  # fmt: skip
    if method != "em":
        nothing = [None, None]
        return row | {"counts": [0, 0], "value": nothing, "stderr": nothing}
    code = float(np.clip(0.5 + gain / 2, 0, 1))
    value = [float(random.binomial(8, p)) / 8 for p in (1 - code, code)]
    return row | {"counts": [8, 8], "value": value, "stderr": [0.1, 0.1], "strategy": [0.5, 0.5]}


def _evaluation(
    folder: Path, learned: float, families: dict[str, float], random: np.random.Generator
) -> None:
    strata, problems = [], []
    for family, gain in families.items():
        for level in LEVELS:
            code = float(np.clip(0.5 + gain / 2 - 0.04 * int(level), 0, 1))
            text = float(np.clip(0.5 - gain / 2, 0, 1))
            policy = _policy(learned, gain)
            strata.append({
                "stratum": f"{family}/{level}", "family": family, "level": level, "n": 40,
                "text": text, "text_stderr": 0.05, "code": code, "code_stderr": 0.05,
                "policy_code": policy, "mass": 0.95, "code_rate": round(policy),
                "native": policy * code + (1 - policy) * text,
            })  # fmt: skip
            problems += [
                {"problem_id": f"{family}-{level}-{k}", "stratum": f"{family}/{level}",
                 "policy_code": float(np.clip(policy + random.normal(0, 0.02), 0, 1)),
                 "text": 1.0, "code": 0.0, "native": 1.0, "decision": "text"}
                for k in range(8)
            ]  # fmt: skip
    _dump(folder / "strata.json", strata)
    _lines(folder / "problems.jsonl", problems)
    accuracy = 0.42 + 0.48 * learned + 0.02 * random.random()
    _dump(folder / "results.json", {
        "model": "tiny",
        "data": {"generated:arithmetic": {
            "native": {"n": 400, "accuracy": accuracy, "stderr": 0.02, "code_rate": 0.6 * learned,
                       "executions_per_problem": 0.6 * learned},
            "decisions": {"selection_accuracy": 0.42 + 0.57 * learned, "oracle_accuracy": 0.97},
        }},
        "seconds": 3.0,
    })  # fmt: skip


def _dump(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def _lines(path: Path, rows: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
