"""Forced runs of a random model with the real interpreter."""

from acim_jax.environment.config import ExecutorConfig
from acim_jax.environment.executor import Executor
from acim_jax.evaluation import rollouts
from acim_jax.evaluation.episode_records import Judged, episode_record
from acim_jax.evaluation.rollouts import Solver
from acim_jax.grading.grader import Grader
from acim_jax.records import GUIDES, Author, SamplingParams
from tests.support import tiny_models
from tests.support.tiny_models import CHATTY


def test_rollouts_are_forced_scored_and_in_order():
    """A random model with the real interpreter; its decision is the one that was forced, or text
    where it never closed the fence. Records agree with the episodes."""
    sampler = tiny_models.make_sampler(max_length=48)
    problems = tiny_models.problems(3)
    wanted = rollouts.requests(problems, GUIDES, sampler.markup, 2)
    prefixes = {"native": "", "text": CHATTY.text_prefixes[0], "code": CHATTY.code_prefixes[0]}
    assert [r.prefix for r in wanted] == [prefixes[r.guide] for r in wanted]
    limits = ExecutorConfig(workers=1, modules=())
    with Executor(limits) as executor, Grader(limits=limits) as grader:
        solver = Solver(tiny_models.make_params(), sampler, executor, grader)
        episodes = rollouts.run(solver, wanted, sampling=SamplingParams(1.0), seed=0)
    assert [(e.problem_id, e.guide, e.index) for e in episodes] == [
        (r.problem.id, r.guide, r.index) for r in wanted
    ]
    tokenizer = tiny_models.load_tokenizer()
    assert sum(len(e.executions) for e in episodes) > 0
    for episode in episodes:
        forced = [s for s in episode.segments if s.author is Author.FORCED]
        assert "".join(tokenizer.decode(s.token_ids) for s in forced) == prefixes[episode.guide]
        if episode.guide == "text":
            assert not episode.executions
        one = Judged.of_record(episode_record(episode, tokenizer, file="f"))
        assert len(one.calls) == len(episode.executions)
        assert one.response_tokens == episode.num_response_tokens
        assert one.is_code == bool(episode.executions)
        assert (one.reward, one.answer) == (episode.reward, episode.answer)
