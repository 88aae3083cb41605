"""Bytes per device, by hand and by what devices really hold."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from acim_jax.improve import state as train_state
from acim_jax.improve.config import ImproveConfig, WarmupConfig
from acim_jax.model import lora, transformer
from acim_jax.model.config import Experts, LoraConfig, ModelConfig
from acim_jax.planning import memory
from acim_jax.planning.workload import Place, PrefixTable, Training, Workload
from acim_jax.sampling import state as sampler_state
from acim_jax.sampling.config import SamplingConfig
from acim_jax.sharding import mesh, place
from acim_jax.sharding.config import MeshConfig
from tests.support.tiny_models import CONFIG

MODEL = dataclasses.replace(CONFIG, dtype="bfloat16", remat=True)
SAMPLING = SamplingConfig(
    slots=8, spare=4, max_length=48, page_size=16, prefill_rows=4, prefill_buckets=(16,)
)
TRAINING = Training(
    ImproveConfig(microbatch_rows=4, buckets=(32,)), scored=PrefixTable(8, 16, 16, 2)
)
MESH = MeshConfig(data=1, fsdp=4, tensor=2)

QWEN_7B = ModelConfig(
    vocab_size=152064,
    hidden_size=3584,
    intermediate_size=18944,
    num_layers=28,
    num_heads=28,
    num_kv_heads=4,
    head_dim=128,
    tie_embeddings=False,
    dtype="bfloat16",
    remat=True,
)
LONG = SamplingConfig(slots=64, spare=0, max_length=4096, page_size=64)


def abstract_place(config: MeshConfig, count: int) -> Place:
    return Place(*mesh.layouts_of(mesh.abstract(config, count)))


def on_device_0(tree: object) -> int:
    """Bytes that the first device holds of these arrays."""
    return sum(
        shard.data.nbytes
        for leaf in jax.tree.leaves(tree)
        for shard in leaf.addressable_shards
        if shard.device == jax.devices()[0]
    )


@pytest.mark.parametrize("config", [MESH, MeshConfig(1, 8, 1), MeshConfig(2, 2, 2)])
@pytest.mark.parametrize("adapters", [None, LoraConfig(rank=4)])
def test_the_plan_is_what_devices_hold(config: MeshConfig, adapters: LoraConfig | None) -> None:
    """Every array of both phases is made, and what the first device has of it counted."""
    train, sample = mesh.layouts(config)
    assert train is not None
    assert sample is not None
    training = dataclasses.replace(TRAINING, lora=adapters)
    planned = Workload(MODEL, SAMPLING, training)
    make = functools.partial(transformer.init, MODEL)
    shardings = place.param_shardings(transformer.abstract_params(MODEL), train)
    params = jax.jit(make, out_shardings=shardings)(jax.random.key(0))
    trained, held = params, []
    if adapters is not None:
        trained = jax.device_put(
            lora.init(adapters, params, jax.random.key(0)),
            place.param_shardings(lora.abstract(adapters, params), train),
        )
        held = [params]
    state = train_state.create(trained, train_state.optimizer(training.improve), train)
    pages = sampler_state.create(model=MODEL, config=SAMPLING, layout=sample)

    at = abstract_place(config, 8)
    exploring = memory.exploring(planned, at, scores=True)
    improving = memory.improving(planned, at, scores=True)
    scale = 4 if held else 0  # α/r
    assert exploring.held == on_device_0((state, held)) + scale
    assert exploring.pages == on_device_0(pages)
    assert improving.weights == on_device_0(state.params)
    assert improving.moments == on_device_0(state.opt_state)
    assert improving.base == (on_device_0(held) + scale if held else 0)
    if adapters is not None:  # the model computes in bfloat16: they are not merged
        params = lora.model_params(trained, lora.Frozen(params, jnp.float32(1)))
    sampled = place.to_layout(transformer.for_sampling(params, MODEL), sample)
    assert exploring.weights == on_device_0(sampled)


def test_float32_weights_on_one_axis_are_sampled_from_as_they_are() -> None:
    """Without an fsdp axis both layouts are the same, so nothing is copied but for the dtype."""
    at = abstract_place(MeshConfig(4, 1, 2), 8)
    same = dataclasses.replace(MODEL, dtype="float32")
    planned = Workload(same, SAMPLING, TRAINING)
    assert memory.exploring(planned, at, scores=True).weights == 0
    assert memory.exploring(dataclasses.replace(planned, model=MODEL), at, scores=True).weights > 0


@pytest.mark.parametrize("adapters", [None, LoraConfig(rank=4)])
@pytest.mark.parametrize("unroll", [None, False])
def test_the_copies_for_decoding_on_a_cpu_are_counted(adapters, unroll: bool | None) -> None:
    """In float32 and without a mesh; merged adapters are another copy of the weights they are to,
    here of all matrices, while embeddings, norms and biases are those of training."""
    model = dataclasses.replace(CONFIG, unroll=unroll)
    planned = Workload(model, SAMPLING, dataclasses.replace(TRAINING, lora=adapters))
    blocks = transformer.abstract_params(CONFIG)["blocks"]
    sizes = [(path[-1].key, x.size * 4) for path, x in jax.tree.leaves_with_path(blocks)]
    matrices = sum(size for name, size in sizes if name.startswith("w_"))
    copies = (sum(size for _, size in sizes) if unroll is None else 0) + (
        matrices if adapters else 0
    )
    found = memory.exploring(planned, Place(None, None), scores=True)
    assert found.weights == copies


def test_seven_billion_parameters_on_sixteen_devices_by_hand() -> None:
    """Matrices are in sixteen parts, biases in four (tensor) and norms whole."""
    at = abstract_place(MeshConfig(1, 4, 4), 16)
    improve = ImproveConfig(microbatch_rows=4, buckets=(4096,), logprob_chunk=512)
    planned = Workload(QWEN_7B, LONG, Training(improve, scored=PrefixTable(64, 512, 16, 2)))
    layers, D, F, H, N, K, V = 28, 3584, 18944, 128, 28, 4, 152064
    matrices = layers * (2 * D * N * H + 2 * D * K * H + 3 * D * F) + 2 * V * D
    biases, norms = layers * (N + 2 * K) * H, (2 * layers + 1) * D
    assert matrices + biases + norms == 7_615_616_512  # as its makers count
    weights = 4 * (matrices // 16 + biases // 4 + norms)
    found = memory.improving(planned, at, scores=False)
    assert found.weights == weights
    assert found.gradients == 2 * weights  # those accumulated, and a microbatch's
    assert found.moments == 2 * weights + 4  # and a count of the steps
    sampled = 2 * (matrices // 4 + biases // 4 + norms)
    exploring = memory.exploring(planned, at, scores=False)
    assert exploring.weights == sampled
    # A token's keys and values: 2 · 28 layers · 4 heads · 128 · 2 bytes, one head on each device.
    # 16 rows a shard of 64 pages, a partly filled page each, and a trash page.
    tokens = (1 + 16 * (64 + 1)) * 64
    cache = tokens * 2 * 28 * 128 * 2
    assert 0 <= exploring.pages - cache < 2**17  # and the rows' own small tables


def test_what_grows_with_what() -> None:
    at = abstract_place(MESH, 8)

    def improving(model: ModelConfig = QWEN_7B, *, scores: bool = False, **settings):
        chosen = {"microbatch_rows": 4, "buckets": (1024,), "logprob_chunk": 128, **settings}
        training = Training(ImproveConfig(**chosen), scored=PrefixTable(64, 512, 16, 2))
        return memory.improving(Workload(model, LONG, training), at, scores=scores)

    base = improving()
    # float32 scores of 14 heads and one row of 1024² on each device, four times.
    extra = improving(scores=True).activations - base.activations
    assert extra == 4 * 4 * 14 * 1024**2
    assert improving(logprob_chunk=256).logits == 2 * base.logits
    assert improving(entropy_weight=0.01).logits == 2 * base.logits
    assert base.logits == 2 * 4 * 128 * 152064 // 2
    twice = improving(microbatch_rows=8)
    assert twice.gradients == base.gradients
    assert 1.5 < twice.activations / base.activations < 2
    # All layers keep what one of them works on: q and o, k and v, three of the feed-forward's and
    # two norms, and as much for gradients.
    kept = improving(dataclasses.replace(QWEN_7B, remat=False)).activations
    token = 2 * (2 * (14 + 2) * 128 + 3 * 18944 // 2 + 2 * 3584)
    assert kept - base.activations == 28 * 2 * 1024 * token


def test_a_warm_up_without_chunks_can_be_the_largest() -> None:
    at = abstract_place(MESH, 8)
    improve = ImproveConfig(microbatch_rows=4, buckets=(1024,), logprob_chunk=128)
    warmup = WarmupConfig(steps=1, rows=16, buckets=(512, 1024))
    training = Training(improve, scored=PrefixTable(64, 512, 16, 2), warmup=warmup)
    found = memory.improving(Workload(QWEN_7B, LONG, training), at, scores=False)
    assert found.logits == 2 * 4 * (4 * 1024) * 152064 // 2


def test_experts_count_those_of_a_token() -> None:
    experts = Experts(count=8, per_token=2, width=16, normalize=True)
    model = dataclasses.replace(MODEL, experts=experts, family="qwen3_moe")
    at = abstract_place(MESH, 8)
    planned = Workload(model, SAMPLING, TRAINING)
    few = memory.improving(planned, at, scores=False)
    more = dataclasses.replace(model, experts=dataclasses.replace(experts, per_token=4))
    many = memory.improving(dataclasses.replace(planned, model=more), at, scores=False)
    # Copies · rows of one device · columns · two more experts · three projections of 16 · bytes
    assert many.activations - few.activations == 2 * (1 * 32) * 3 * 16 * 2 * 2


@pytest.mark.parametrize(
    ("platform", "changes", "holds"),
    [
        ("cpu", {}, True),
        ("tpu", {}, False),
        ("gpu", {"dtype": "float32"}, True),
        ("tpu", {"head_dim": 8, "num_heads": 448}, True),
        ("tpu", {"sliding_window": 512}, False),
        ("gpu", {"sliding_window": 512, "full_attention_layers": 3}, True),
    ],
)
def test_scores_are_held_where_no_kernel_covers_the_model(
    platform: str, changes: dict[str, object], holds: bool
) -> None:
    model = dataclasses.replace(QWEN_7B, **changes)  # pyright: ignore[reportArgumentType]
    with jax.default_matmul_precision("default"):  # the tests' own is more than kernels offer
        assert memory.holds_scores(model, platform) is holds


def test_kv_cache_in_int8_takes_33_of_64_parts() -> None:
    at = abstract_place(MESH, 8)
    wide = dataclasses.replace(MODEL, head_dim=128)
    whole, small = (
        memory.exploring(
            Workload(wide, dataclasses.replace(SAMPLING, kv_cache=kind)), at, scores=True
        ).pages
        for kind in ("model", "int8")
    )
    tables = on_device_0(
        sampler_state.create(model=wide, config=SAMPLING, layout=mesh.layouts(MESH)[1])._replace(
            pages=()
        )
    )
    np.testing.assert_allclose((small - tables) / (whole - tables), (128 + 4) / 256, rtol=1e-12)
