"""`acim execute --input F --output G`: runs programs in the executor."""

import argparse
import concurrent.futures
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from acim_jax import bad_input
from acim_jax.cli import console
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor, ExecutorFailure
from acim_jax.environment.sandbox import protection
from acim_jax.files import jsonl
from acim_jax.records import ExecutionResult

_EXAMPLE = """\
example:
  echo '{"id": "a", "code": "print(6 * 7)"}' > programs.jsonl
  acim execute --input programs.jsonl --output results.jsonl --workers 2 --timeout 5

input rows:  {"id", "code", "timeout"?}
output rows: {"id", "status", "stdout", "stderr", "truncated", "wall_s"}, in input order;
             status: ok, error, timeout, memory, killed, blocked or infra
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command `execute` to the parsers of `acim`."""
    defaults = ExecutorConfig()
    parser = subparsers.add_parser(
        "execute",
        help="run programs in the executor",
        description="Runs every program of a JSONL file in its own confined process. "
        "What the executor does not protect from stands in docs/executor.md.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--input", type=Path, required=True, metavar="F", help="programs, JSONL")
    parser.add_argument("--output", type=Path, required=True, metavar="G", help="results, JSONL")
    parser.add_argument(
        "--workers", type=int, default=defaults.workers, metavar="N", help="programs at once"
    )
    parser.add_argument(
        "--timeout", type=float, default=defaults.timeout_s, metavar="S", help="wall seconds"
    )
    parser.add_argument(
        "--cpu-seconds", type=float, default=defaults.cpu_seconds, metavar="S", help="CPU seconds"
    )
    parser.add_argument(
        "--memory-mb", type=int, default=defaults.memory_mb, metavar="M", help="address space"
    )
    parser.add_argument(
        "--output-chars",
        type=int,
        default=defaults.output_chars,
        metavar="N",
        help="characters kept of stdout and of stderr",
    )
    parser.add_argument(
        "--modules",
        default=",".join(defaults.modules),
        metavar="a,b",
        help="third-party modules that programs may import (default %(default)s)",
    )
    parser.add_argument(
        "--min-protection",
        choices=protection.LEVELS,
        default=defaults.min_protection,
        help="refuse to run with less than this (default %(default)s; see `acim doctor`)",
    )
    parser.set_defaults(run=run)


_Future = concurrent.futures.Future[ExecutionResult]


@dataclasses.dataclass(frozen=True)
class _Program:
    id: object
    code: str
    timeout_s: float | None


def run(args: argparse.Namespace) -> int:
    """Runs the programs; 1 if the executor itself failed, with what finished written."""
    with bad_input.reading():
        config = ExecutorConfig(
            workers=args.workers,
            timeout_s=args.timeout,
            cpu_seconds=args.cpu_seconds,
            memory_mb=args.memory_mb,
            output_chars=args.output_chars,
            modules=tuple(name.strip() for name in args.modules.split(",") if name.strip()),
            min_protection=args.min_protection,
        )
        programs = _read(args.input)
        check_output(args.output)
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


def check_output(path: Path) -> None:
    """Raises ValueError before any work if a file cannot be written at `path`."""
    if path.is_dir():
        raise ValueError(f"--output {path} is a folder; give the name of the file to write.")
    if not path.parent.is_dir():
        raise ValueError(
            f"--output {path}: the folder {path.parent} does not exist; make it first."
        )


def row_id(row: Mapping[str, object], where: str) -> object:
    """The id of an input row; ValueError with its place if it is missing or cannot be written."""
    if "id" not in row:
        raise ValueError(f'{where}: field "id" is missing.')
    try:
        str(row["id"]).encode()
    except UnicodeEncodeError:
        raise ValueError(f'{where}: field "id" holds half a surrogate pair.') from None
    return row["id"]


def text_field(row: Mapping[str, object], field: str, where: str) -> str:
    """A text field of an input row; ValueError with its place if it is missing or no text."""
    value = row.get(field)
    if not isinstance(value, str):
        got = f"got {type(value).__name__}" if field in row else "it is missing"
        raise ValueError(f'{where}: field "{field}" must be text, {got}.')
    return value


def _read(path: Path) -> list[_Program]:
    programs: list[_Program] = []
    for number, row in jsonl.read(path):
        where = f"{path}:{number}"
        program_id = row_id(row, where)
        timeout = row.get("timeout")
        if timeout is not None and not (
            isinstance(timeout, int | float)
            and not isinstance(timeout, bool)
            and 0 < timeout < float("inf")
        ):
            raise ValueError(f'{where}: field "timeout" must be seconds above 0, got {timeout!r}.')
        seconds = None if timeout is None else float(timeout)
        programs.append(_Program(program_id, text_field(row, "code", where), seconds))
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
