"""`acim prefixes --model M --data F …`: how a model begins, and prefixes that it would use."""

import argparse
import collections
import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.table

from acim_jax import bad_input
from acim_jax.checkpoint import acim_yaml, model_folder, model_names
from acim_jax.checkpoint.model_folder import ModelFolder
from acim_jax.cli import console, options
from acim_jax.data import problems as problem_files
from acim_jax.evaluation import openings
from acim_jax.evaluation.openings import Beginning, Scored
from acim_jax.files import places
from acim_jax.grading import golds
from acim_jax.markup import Markup
from acim_jax.model import transformer
from acim_jax.records import DECISIONS, DecisionName, Problem
from acim_jax.rollout.sampler import Sampler
from acim_jax.run import compilation

log = logging.getLogger(__name__)

#: Candidates of each decision that are scored, and openings of each prompt that are shown.
_SCORED, _SHOWN = 48, 5


def run(args: argparse.Namespace) -> int:
    """Samples, scores, proposes; prints tables, or everything as JSON."""
    compilation.enable_cache()
    with bad_input.reading():
        model, problems, sampler = _prepare(args)
        params = model_folder.load_for_sampling(model, sampler.layout)
        params = transformer.for_sampling(params, model.config, sampler.layout)
    with console.Display() as display:
        total = len(openings.PROMPTS) * len(problems) * args.samples
        with display.rollouts("openings", total) as progress:
            beginnings = openings.sample(
                params,
                problems,
                sampler,
                samples=args.samples,
                tokens=args.tokens,
                seed=args.seed,
                progress=progress,
            )
    now, proposed = _scored(params, problems, model, beginnings, sampler)
    result = {
        "model": model.name,
        "data": args.data,
        "problems": len(problems),
        "openings": {name: _counted(some) for name, some in beginnings.items()},
        "prefixes": _described(now, model),
        **_share(now),
        "proposed": {"prefixes": _described(proposed, model), **_share(proposed)},
    }
    _show(result)
    if args.write:
        chosen = {d: tuple(o.text for o in proposed if o.decision == d) for d in DECISIONS}
        markup = dataclasses.replace(
            model.markup, text_prefixes=chosen["text"], code_prefixes=chosen["code"]
        )
        acim_yaml.write_markup(model.folder, markup)
        log.info("%s holds the proposed prefixes", model.folder / acim_yaml.NAME)
    if args.json:
        print(json.dumps(result))
    return 0


def _prepare(args: argparse.Namespace) -> tuple[ModelFolder, list[Problem], Sampler]:
    """Reads and checks the input; ValueError or FileNotFoundError."""
    model = options.open_model(args)
    if args.write and (model.run is not None or model.name in model_names.EMBEDDED):
        raise ValueError(f"--write needs a model folder of your own; {model.name} is none.")
    if args.write:
        places.check_folder(model.folder, "--write:")
    data = {s: problem_files.load(s, limit=args.limit, seed=0) for s in args.data}
    problems = [problem for usable in golds.usable(data).values() for problem in usable]
    asked = [openings.hinted(p, o, model.markup) for p in problems for o in openings.PROMPTS]
    prompts = (model.tokenizer.prompt_ids(p.question, model.markup) for p in asked)
    sampler, _ = options.make_sampler(
        model,
        [problem.question for problem in asked],
        [],
        slots=min(64, len(problems) * args.samples),
        max_length=max(map(len, prompts)) + args.tokens,
        chunk=16,
    )
    return model, problems, sampler


def _scored(
    params: transformer.Params,
    problems: Sequence[Problem],
    model: ModelFolder,
    beginnings: Mapping[str, Sequence[Beginning]],
    sampler: Sampler,
) -> tuple[list[Scored], list[Scored]]:
    """The prefixes of the markup, and the proposed ones."""
    markup: Markup = model.markup
    found = openings.candidates(beginnings, markup, model.tokenizer)
    texts: dict[DecisionName, list[str]] = {
        d: [*dict.fromkeys([*markup.prefixes(d), *found[d][:_SCORED]])] for d in DECISIONS
    }
    scored = openings.score(
        params, problems, texts, markup, model.tokenizer, model.config, sampler.layout
    )
    now = [one for one in scored if one.text in markup.prefixes(one.decision)]
    return now, openings.propose(scored)


def _counted(beginnings: Sequence[Beginning]) -> list[dict[str, Any]]:
    """First lines of responses with their shares, the most frequent first."""
    lines = collections.Counter(one.text.partition("\n")[0][:60] for one in beginnings)
    return [
        {"opening": line, "share": count / len(beginnings)} for line, count in lines.most_common()
    ]


def _described(scored: Sequence[Scored], model: ModelFolder) -> dict[str, list[dict[str, Any]]]:
    def one(prefix: Scored) -> dict[str, Any]:
        each = zip(prefix.token_ids, prefix.logprobs.mean(axis=0), strict=True)
        return {
            "prefix": prefix.text,
            "probability": float(prefix.probability.mean()),
            "logprob": float(prefix.logprobs.sum(axis=1).mean()),
            "tokens": [
                {"text": model.tokenizer.decode(np.array([token])), "logprob": float(logprob)}
                for token, logprob in each
            ],
        }

    return {d: [one(prefix) for prefix in scored if prefix.decision == d] for d in DECISIONS}


def _share(scored: Sequence[Scored]) -> dict[str, Any]:
    mass = openings.mass(scored)
    low, median, high = (float(x) for x in np.quantile(mass, (0.1, 0.5, 0.9)))
    return {
        "mass": {"median": median, "tenth": low, "nine_tenths": high},
        "policy_code": float(np.mean(openings.policy_code(scored))),
    }


def _show(result: Mapping[str, Any]) -> None:
    out = console.console()
    table = rich.table.Table(title=f"How {result['model']} begins ({result['problems']} problems)")
    for column in ("prompt", "share", "first line"):
        table.add_column(column)
    for prompt, shares in result["openings"].items():
        for at, one in enumerate(shares[:_SHOWN]):
            name = "" if at else {"own": "the run's own"}.get(prompt, f"with the hint to {prompt}")
            table.add_row(name, f"{one['share']:.2f}", repr(one["opening"]), end_section=False)
        table.add_section()
    out.print(table)
    for title, part in (("Decision prefixes now", result), ("Proposed", result["proposed"])):
        table = rich.table.Table(title=title)
        for column in ("decision", "probability", "prefix", "nats, token by token"):
            table.add_column(column)
        for decision, prefixes in part["prefixes"].items():
            for one in prefixes:
                nats = " ".join(f"{t['text']!r} {t['logprob']:.2f}" for t in one["tokens"])
                probability = f"{one['probability']:.2g}"
                table.add_row(decision, probability, repr(one["prefix"]), nats)
        out.print(table)
        mass = part["mass"]
        out.print(
            f"mass: median {mass['median']:.3g}, a tenth of the problems below "
            f"{mass['tenth']:.3g}; π̂(code) {part['policy_code']:.3g}"
        )
