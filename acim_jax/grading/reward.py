"""Rewards of episodes: answers graded for math problems, unit tests for code problems.

Only what the policy wrote is graded. An answer that stands in the interpreter's output alone earns
nothing: the model has to state it.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from acim_jax.environment.executor import Executor
from acim_jax.grading import extraction, unit_tests
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
    passed, as the grader's config says. An own reward (`own_reward.py`) is told of it, and stands
    in its place. An episode that ended, or could not be graded, by a failure of ours has reward 0
    and `Stop.INFRA`: the caller drops it. executor: runs the programs of code problems. Raises
    `ValueError` for an unknown problem.
    """
    missing = {episode.problem_id for episode in episodes} - problems.keys()
    if missing:
        raise ValueError(f"Episodes of problems that were not given: {sorted(missing)[:3]}.")
    asked = [problems[episode.problem_id] for episode in episodes]
    live = [i for i, episode in enumerate(episodes) if episode.stop is not Stop.INFRA]
    texts = {i: model_text(episodes[i], markup) for i in live}
    verdicts: dict[int, tuple[str | None, float, str]] = {}  # (answer, reward, graded)
    math = [i for i in live if asked[i].kind == "math"]
    grades = grader.grade([(texts[i], asked[i].answer) for i in math])
    for i, grade in zip(math, grades, strict=True):
        if not grade.infra:
            verdicts[i] = grade.extracted, float(grade.correct), grade.method
    code = {i: unit_tests.candidate(texts[i], markup) for i in live if asked[i].kind == "code"}
    if code:
        pairs = [(program, asked[i]) for i, program in code.items()]
        results = unit_tests.score_all(pairs, executor, grader.judges)
        whole = grader.config.code_reward == "all"
        for (i, program), result in zip(code.items(), results, strict=True):
            if not result.infra:
                verdicts[i] = program, float(result.all_passed if whole else result.share), "tests"
    scored: list[Episode] = []
    for i, episode in enumerate(episodes):
        answer, reward, graded = verdicts.get(i, (None, 0.0, ""))
        stop = episode.stop if i in verdicts else Stop.INFRA
        one = dataclasses.replace(
            episode,
            stop=stop,
            answer=answer,
            reward=reward,
            graded=graded,
            answered_first=_answered_first(episode, answer, grader, markup),
        )
        own = grader.own_reward if i in verdicts else None
        scored.append(one if own is None else own.of(one, asked[i], texts[i]))
    return scored


def _answered_first(episode: Episode, answer: str | None, grader: Grader, markup: Markup) -> bool:
    """Whether the answer that counts was stated before the first program was begun."""
    before, opened, _ = episode.text.partition(markup.code_open)
    if answer is None or not opened or not episode.executions:
        return False
    return extraction.extract_answer(before, grader.config.unboxed) == answer


def model_text(episode: Episode, markup: Markup) -> str:
    """A response without the interpreter's output.

    Removed are outputs as they were rendered, whatever they contain; then any block that looks like
    one (the model may have made it up); then one at the end that the length limit cut off.
    """
    kept = [episode.text]
    for execution in episode.executions:
        before, found, after = kept[-1].partition(outputs.render_output(execution, markup))
        if not found:
            break
        kept[-1:] = [before, after]
    text = outputs.strip_outputs("\n".join(kept), markup)
    return text.partition(markup.output_open)[0]
