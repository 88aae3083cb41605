"""Rewards of episodes: answers graded for math problems, unit tests for code problems.

Only what the policy wrote is graded. An answer that stands in the interpreter's output alone earns
nothing: the model has to state it.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from acim_jax.environment.executor import Executor
from acim_jax.grading import unit_tests
from acim_jax.grading.grader import Grader
from acim_jax.markup import Markup, outputs
from acim_jax.records import Episode, Problem, Stop


def score(
    episodes: Sequence[Episode],
    problems: Mapping[str, Problem],
    grader: Grader,
    executor: Executor,
    markup: Markup,
) -> list[Episode]:
    """The episodes, in order, with `answer`, `reward` and `graded` filled in.

    reward is 1 or 0 for math problems; for code problems the share of passed tests, or whether all
    passed, as the grader's config says. An episode that ended in a failure of ours gets 0, and is
    the caller's to drop: it has, or is given here, `Stop.INFRA`. executor: runs the programs of
    code problems. Raises `ValueError` for an unknown problem.
    """
    missing = {episode.problem_id for episode in episodes} - problems.keys()
    if missing:
        raise ValueError(f"Episodes of problems that were not given: {sorted(missing)[:3]}.")
    scored = [
        dataclasses.replace(episode, answer=None, reward=0.0, graded="") for episode in episodes
    ]
    live = [i for i, episode in enumerate(episodes) if episode.stop is not Stop.INFRA]
    math = [i for i in live if problems[episodes[i].problem_id].kind == "math"]
    pairs = [
        (model_text(episodes[i], markup), problems[episodes[i].problem_id].answer) for i in math
    ]
    for i, grade in zip(math, grader.grade(pairs), strict=True):
        reward = float(grade.correct)
        scored[i] = _graded(scored[i], grade.extracted, reward, grade.method, infra=grade.infra)
    tested = [i for i in live if problems[episodes[i].problem_id].kind == "code"]
    if not tested:
        return scored
    codes = [unit_tests.candidate(model_text(episodes[i], markup), markup) for i in tested]
    results = unit_tests.score_all(
        [(code, problems[episodes[i].problem_id]) for i, code in zip(tested, codes, strict=True)],
        executor,
        grader.judges,
    )
    for i, code, result in zip(tested, codes, results, strict=True):
        all_or_nothing = grader.config.code_reward == "all"
        reward = float(result.all_passed) if all_or_nothing else result.share
        scored[i] = _graded(scored[i], code, reward, "tests", infra=result.infra)
    return scored


def _graded(
    episode: Episode, answer: str | None, reward: float, method: str, *, infra: bool
) -> Episode:
    """A grading that failed on our side has the episode dropped: a reward of 0 would be untrue."""
    if infra:
        return dataclasses.replace(episode, stop=Stop.INFRA)
    return dataclasses.replace(episode, answer=answer, reward=reward, graded=method)


def model_text(episode: Episode, markup: Markup) -> str:
    """A response without the interpreter's words.

    The outputs are known, so they are removed as they were rendered, whatever they contain; then
    any block that looks like an output (the model may have made one up); then an output at the end
    that was cut off by the length limit.
    """
    kept: list[str] = []
    rest = episode.text
    for execution in episode.executions:
        before, found, after = rest.partition(outputs.render_output(execution, markup))
        if not found:
            break
        kept.append(before)
        rest = after
    text = outputs.strip_outputs("\n".join([*kept, rest]), markup)
    return text.partition(markup.output_open)[0]
