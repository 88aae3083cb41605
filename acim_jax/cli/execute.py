"""`acim execute --input F --output G`: runs programs in the executor."""

import argparse
import concurrent.futures
import sys
from collections.abc import Sequence

from acim_jax import bad_input
from acim_jax.cli import checks, console, input_records
from acim_jax.cli.input_records import InputRecord
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.environment.server import ExecutorFailure
from acim_jax.files import jsonl
from acim_jax.records import ExecutionResult

_Future = concurrent.futures.Future[ExecutionResult]
_Program = tuple[str, float | None]  # code, wall seconds if it has its own


def run(args: argparse.Namespace) -> int:
    """Runs the programs; 1 if the executor itself failed, with what finished written."""
    with bad_input.reading():
        records = input_records.read(args.input)
        programs = [(record.text("code"), _timeout(record)) for record in records]
        executor = Executor(checks.section(ExecutorConfig, "executor", args))
    with executor:
        futures, failure = _run_all(programs, executor)
        finished = [
            _row(record.id, future.result())
            for record, future in zip(records, futures, strict=True)
            if future.done() and not future.cancelled() and future.exception() is None
        ]
    jsonl.write(args.output, finished)
    if failure is not None:
        count = f"{len(finished)} of {len(programs)} results written to {args.output}"
        print(f"acim execute: {failure}\n{count}", file=sys.stderr)
        return 1
    return 0


def _timeout(record: InputRecord) -> float | None:
    match record.fields.get("timeout"):
        case None:
            return None
        case (int() | float()) as seconds if seconds is not True and 0 < seconds < float("inf"):
            return float(seconds)
        case other:
            where = f'{record.where}: field "timeout"'
            raise ValueError(f"{where} must be seconds above 0, got {other!r}.")


def _run_all(
    programs: Sequence[_Program], executor: Executor
) -> tuple[list[_Future], Exception | None]:
    """Runs all under a progress bar; also the failure that ended that, if any."""
    futures: list[_Future] = []
    with console.Display() as bar:
        task = bar.add_task("programs", total=len(programs))
        for program in programs:  # waits while many wait already
            futures.append(executor.submit(*program))
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
