"""`acim execute --input F --output G`: runs programs in the executor."""

import argparse
import concurrent.futures
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from acim_jax import bad_input
from acim_jax.cli import checks, console, input_records
from acim_jax.environment.executor import Executor
from acim_jax.environment.server import ExecutorFailure
from acim_jax.files import jsonl
from acim_jax.records import ExecutionResult

_Future = concurrent.futures.Future[ExecutionResult]


@dataclasses.dataclass(frozen=True)
class _Program:
    id: object
    code: str
    timeout_s: float | None


def run(args: argparse.Namespace) -> int:
    """Runs the programs; 1 if the executor itself failed, with what finished written."""
    with bad_input.reading():
        config = checks.executor_config(
            args, output_chars="output_chars", min_protection="min_protection"
        )
        programs = _read(args.input)
        executor = Executor(config)
    with executor:
        futures, failure = _run_all(programs, executor)
        finished = [
            _row(program.id, future.result())
            for program, future in zip(programs, futures, strict=True)
            if future.done() and not future.cancelled() and future.exception() is None
        ]
    jsonl.write(args.output, finished)
    if failure is not None:
        count = f"{len(finished)} of {len(programs)} results written to {args.output}"
        print(f"acim execute: {failure}\n{count}", file=sys.stderr)
        return 1
    return 0


def _read(path: Path) -> list[_Program]:
    programs: list[_Program] = []
    for number, row in jsonl.read(path):
        where = f"{path}:{number}"
        program_id = input_records.record_id(row, where)
        timeout = row.get("timeout")
        if timeout is not None and not (
            isinstance(timeout, int | float)
            and not isinstance(timeout, bool)
            and 0 < timeout < float("inf")
        ):
            raise ValueError(f'{where}: field "timeout" must be seconds above 0, got {timeout!r}.')
        seconds = None if timeout is None else float(timeout)
        programs.append(_Program(program_id, input_records.text_field(row, "code", where), seconds))
    return programs


def _run_all(
    programs: Sequence[_Program], executor: Executor
) -> tuple[list[_Future], Exception | None]:
    """Runs all under a progress bar; also the failure that ended that, if any."""
    futures: list[_Future] = []
    with console.progress() as bar:
        task = bar.add_task("programs", total=len(programs))
        for program in programs:  # waits while many wait already
            futures.append(executor.submit(program.code, program.timeout_s))
            futures[-1].add_done_callback(lambda _: bar.advance(task))
        for future in futures:
            error = future.exception()
            if isinstance(error, ExecutorFailure):
                return futures, error
            if error is not None:
                raise error
    return futures, None


def _row(program_id: object, result: ExecutionResult) -> dict[str, object]:
    return {
        "id": program_id,
        "status": result.status.value,
        "stdout": result.stdout,
        "stderr": result.stderr,
        "truncated": result.truncated,
        "wall_s": round(result.wall_s, 6),
    }
