"""Rewards of episodes: answers graded for math problems, unit tests for code problems.

Only what the policy wrote is graded. An answer that stands in the interpreter's output alone earns
nothing: the model has to state it.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from acim_jax import markup as markup_form
from acim_jax.environment import answers, unit_tests
from acim_jax.environment.executor import Executor
from acim_jax.markup import Markup
from acim_jax.records import Episode, Problem, Stop


def score(
    episodes: Sequence[Episode],
    problems: Mapping[str, Problem],
    executor: Executor,
    markup: Markup,
    timeout_s: float = 5.0,
) -> list[Episode]:
    """The episodes, in order, with `answer` and `reward` filled in.

    reward is 1 or 0 for math problems and the share of passed tests for code problems. An episode
    that ended in a failure of ours (`Stop.INFRA`) gets 0, and is the caller's to drop.
    timeout_s: limit of one symbolic comparison. Raises `ValueError` for an unknown problem.
    """
    missing = {episode.problem_id for episode in episodes} - problems.keys()
    if missing:
        raise ValueError(f"Episodes of problems that were not given: {sorted(missing)[:3]}.")
    scored = [dataclasses.replace(episode, answer=None, reward=0.0) for episode in episodes]
    live = [i for i, episode in enumerate(episodes) if episode.stop is not Stop.INFRA]
    math = [i for i in live if problems[episodes[i].problem_id].kind == "math"]
    pairs = [
        (model_text(episodes[i], markup), problems[episodes[i].problem_id].answer) for i in math
    ]
    for i, grade in zip(math, answers.grade_all(pairs, executor, timeout_s), strict=True):
        scored[i] = dataclasses.replace(
            scored[i], answer=grade.extracted, reward=float(grade.correct)
        )
    tested = [i for i in live if problems[episodes[i].problem_id].kind == "code"]
    codes = [unit_tests.candidate(model_text(episodes[i], markup), markup) for i in tested]
    shares = unit_tests.score_all(
        [(code, problems[episodes[i].problem_id]) for i, code in zip(tested, codes, strict=True)],
        executor,
    )
    for i, code, share in zip(tested, codes, shares, strict=True):
        scored[i] = dataclasses.replace(scored[i], answer=code, reward=share)
    return scored


def model_text(episode: Episode, markup: Markup) -> str:
    """A response without the interpreter's words.

    The outputs are known, so they are removed as they were rendered, whatever they contain; then
    any block that looks like an output (the model may have made one up); then an output at the end
    that was cut off by the length limit.
    """
    kept: list[str] = []
    rest = episode.text
    for execution in episode.executions:
        before, found, after = rest.partition(markup_form.render_output(execution, markup))
        if not found:
            break
        kept.append(before)
        rest = after
    text = markup_form.strip_outputs("\n".join([*kept, rest]), markup)
    return text.partition(markup.output_open)[0]
