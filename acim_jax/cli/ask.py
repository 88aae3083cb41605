"""`acim ask --model M "QUESTION"`: solves one problem and shows how, as it comes."""

import argparse
import contextlib
import json

import rich.text

from acim_jax import bad_input
from acim_jax.checkpoint import model_folder
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.cli import checks, console, options
from acim_jax.cli.transcript import Transcript
from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.evaluation import episode_records
from acim_jax.grading import extraction, reward
from acim_jax.model import transformer
from acim_jax.records import Episode, Problem, RolloutRequest, Stop
from acim_jax.rollout import converse
from acim_jax.rollout.sampler import Sampler
from acim_jax.run import compilation

#: Decode steps between two pieces of what is shown.
_CHUNK = 8


def run(args: argparse.Namespace) -> int:
    """Prints the response while it is made, then the answer."""
    compilation.enable_cache()
    with contextlib.ExitStack() as stack:
        with bad_input.reading():
            model, sampler, request = _prepare(args)
            limits = checks.section(ExecutorConfig, "executor", args)
            params = model_folder.load_for_sampling(model, sampler.layout)
            params = transformer.for_sampling(params, model.config, sampler.layout)
            needed = args.decision != "text"
            executor = stack.enter_context(Executor(limits)) if needed else None
        ends = frozenset(model.tokenizer.stop_ids(model.markup).tolist())
        transcript = Transcript(console.console(), model.tokenizer, model.markup, ends)
        (episode,), _ = converse.converse(
            params,
            [request],
            sampler,
            executor,
            seed=args.seed,
            iteration=-1,
            sampling=checks.sampling_params(args),
            on_segment=lambda _, segment: transcript.add(segment),
        )
        transcript.close()
    answer = extraction.extract_answer(reward.model_text(episode, model.markup))
    _conclude(episode, answer)
    if args.json:
        record = episode_records.episode_record(episode, model.tokenizer, file="")
        shown = ("guide", "decision", "stop", "segments", "executions")
        about = {"model": model.name, "question": args.question, "answer": answer}
        print(json.dumps({**about, "text": episode.text, **{name: record[name] for name in shown}}))
    return 0


def _prepare(args: argparse.Namespace) -> tuple[ModelFolder, Sampler, RolloutRequest]:
    """Checks the input; ValueError or FileNotFoundError."""
    model = options.open_model(args)
    sampler, given = options.make_sampler(
        model, [args.question], [args.decision], max_length=args.max_length, chunk=_CHUNK
    )
    if given >= sampler.config.max_length:
        raise ValueError(
            f"The question takes {given} tokens with its prompt, a row holds "
            f"{sampler.config.max_length} (--max-length); ask a shorter one or raise it."
        )
    prefix = "" if args.decision == "native" else model.markup.prefixes(args.decision)[0]
    problem = Problem("question", args.question, "")
    return model, sampler, RolloutRequest(problem, args.decision, 0, prefix)


def _conclude(episode: Episode, answer: str | None) -> None:
    """The answer, how it was found, and why there is none if so."""
    programs = ", ".join(execution.status.value for execution in episode.executions)
    how = f"{episode.decision}{f'; programs: {programs}' if programs else ''}"
    if episode.stop is not Stop.EOS:
        how += f"; stopped by {episode.stop.value}"
    text = rich.text.Text("answer: ", "bold")
    text.append("none stated" if answer is None else answer, "bold green" if answer else "yellow")
    text.append(f"  ({how})", "dim")
    console.console().print(text, soft_wrap=True)
