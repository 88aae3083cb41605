"""The command lines that need no model: each function declares one, its docstring is the help."""

import argparse

from acim_jax.cli.arguments import shared
from acim_jax.environment.config import ExecutorConfig
from acim_jax.grading.config import GraderConfig


def execute(parser: argparse.ArgumentParser) -> None:
    """Runs every program of a JSONL file in its own confined process. What the executor does not
    protect from stands in docs/executor.md.

    example:
      echo '{"id": "a", "code": "print(6 * 7)"}' > programs.jsonl
      acim execute --input programs.jsonl --output results.jsonl --workers 2 --timeout 5

    input:  {"id", "code", "timeout"?}
    output: {"id", "status", "stdout", "stderr", "truncated", "wall_s"}, in input order;
            status: ok, error, timeout, memory, killed, blocked or infra
    """
    shared.add_input_output(parser, "programs", "results")
    shared.add_executor(parser)
    least = "refuse to run with less than this (default %(default)s; see `acim doctor`)"
    shared.add_fields(
        parser,
        "executor",
        ExecutorConfig(),
        output_chars=("N", "characters kept of stdout and of stderr"),
        min_protection=(None, least),
    )


def grade(parser: argparse.ArgumentParser) -> None:
    r"""Grades every response of a JSONL file: exactly where that is possible, else by symbolic
    comparison in a process that is killed at the timeout.

    example:
      echo '{"id": "1", "prediction": "so \\boxed{\\frac{1}{2}}", "answer": "0.5"}' > answers.jsonl
      acim grade --input answers.jsonl --output grades.jsonl

    input:  {"id", "prediction", "answer"}; the prediction is a whole response, its last \boxed{...}
            counts, else a bare answer
    output: {"id", "correct", "extracted", "method", "wall_s"}, in input order;
            method: exact, numeric, symbolic, timeout or none
    """
    shared.add_input_output(parser, "responses", "grades")
    seconds = ("S", "seconds per symbolic comparison")
    shared.add_fields(parser, "grader", GraderConfig(), timeout_s=seconds)
    shared.add_grading(parser, rollouts=False)


def doctor(parser: argparse.ArgumentParser) -> None:
    """Says which devices, package versions and executor protection this machine has, and where
    compiled functions are kept.

    examples:
      acim doctor
      acim doctor --json | python3 -m json.tool
    """
    shared.add_json(parser)
