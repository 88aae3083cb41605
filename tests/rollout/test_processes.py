"""Two processes with four devices each sample together: equal to one process with one device."""

import json
import pickle
from collections import Counter

import pytest

from acim_jax.records import Problem, RolloutRequest
from acim_jax.rollout import processes
from tests.support import episodes, process_pairs, tiny_models


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> list[tuple[dict, bytes]]:
    """What each process wrote."""
    out = tmp_path_factory.mktemp("processes")
    codes = process_pairs.run("tests.support.sampling_process", out, timeout_s=240)
    assert codes == [0, 0]
    return [
        (
            json.loads((out / f"{number}.json").read_text()),
            (out / f"{number}.episodes").read_bytes(),
        )
        for number in range(2)
    ]


def test_both_return_all_episodes_as_one_process_makes_them(made):
    (first, content), (second, other) = made
    assert content == other
    wanted = tiny_models.requests()
    ours, stats = tiny_models.run(tiny_models.make_sampler(), wanted)
    theirs = pickle.loads(content)
    different = episodes.count_different(ours, theirs, atol=1e-5)
    assert different <= stats.near_ties + first["near_ties"] < len(wanted) // 3
    assert first["sampled_tokens"] == sum(e.num_model_tokens for e in theirs)
    assert second["sampled_tokens"] == first["sampled_tokens"]
    assert first["done"] == second["done"] == len(wanted)


def test_each_made_executed_and_graded_its_own_problems(made):
    """Problems are dealt out in turn: p0 and p2 to the first process, p1 to the second."""
    theirs = pickle.loads(made[0][1])
    for number, problems in enumerate(({"p0", "p2"}, {"p1"})):
        own, result = [e for e in theirs if e.problem_id in problems], made[number][0]
        assert {e.graded for e in own} == {f"by {number}"}
        programs = [x.code for e in own for x in e.executions]
        assert len(programs) > 10
        assert result["executed"] == Counter(programs)


def test_weights_go_from_the_whole_mesh_to_each_process(made):
    """fsdp 4 × tensor 2 over two processes: two replicas on each, split over tensor alone."""
    for result, _ in made:
        assert result["local"] == {"data": 2, "fsdp": 1, "tensor": 2}
        assert result["weights"] is True
        assert result["shard"] == [2, 32, 2, 8]


def test_nothing_is_compiled_after_the_start(made):
    assert [result["compiled"] for result, _ in made] == [0, 0]


def test_a_failure_is_raised_by_both(made):
    for result, _ in made:
        assert result["failure"] == (
            "Rollouts failed on 1 of 2 processes; process 1: OSError: no grades today"
        )


def test_meshes_that_do_not_fit_the_processes_are_refused(made):
    for result, _ in made:
        tensor, idle = result["refused"]
        assert tensor.startswith("mesh.tensor is 8, but a process has 4 devices")
        assert idle.startswith("A mesh of 4 devices leaves process 1 of 2 without any")


def test_all_rollouts_of_a_problem_have_one_owner():
    """Whatever lies between them: an evaluation goes through the problems guide by guide."""
    wanted = [
        RolloutRequest(Problem(name, "?", ""), guide, index)
        for guide in ("text", "code")
        for name in ("b", "a", "c", "e", "d")
        for index in range(2)
    ]
    owners = processes.share(wanted, 3)
    assert owners == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1] * 2
