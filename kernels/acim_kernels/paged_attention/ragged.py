"""Paged decoding in plain jnp whose cost follows every row's own length.

The (row, page) pairs that some query sees are concatenated and processed in groups of a fixed size;
then the softmaxes of each row's pages are joined, in the order of the pages.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from acim_kernels.paged_attention.pages import TRASH, Pages
from acim_kernels.paged_attention.reference import fetch

#: Pairs a group: its keys and values should stay in the cache of a core.
GROUP = 64
#: Widest table, in pages. Results are kept and joined for whole tables, which costs more than it
#: saves on a CPU where rows are much shorter than wider tables.
WIDEST = 64
_NONE = jnp.finfo(jnp.float32).min


class _Pairs(NamedTuple):
    """W pairs, and then pairs that are none. row: whose. pages: page numbers. seen: the keys of
    the page that the row's query sees. counts, ends: pairs of each row, and where they end."""

    row: Int[Array, "W"]
    pages: Int[Array, "W"]
    seen: Bool[Array, "W G"]
    counts: Int[Array, "B"]
    ends: Int[Array, "B"]


def attention(
    q_BNH: Float[Array, "B N H"],
    pages: Pages,
    tables_BM: Int[Array, "B M"],
    positions_B: Int[Array, "B"],
    window: int | Array | None = None,
) -> Float[Array, "B N H"]:
    """softmax(q·k/√H) v of one query a row over the key positions that it sees; sums in float32.

    A row's pairs are computed apart from those of other rows and joined in a fixed order, so that
    its result does not depend, to the last bit, on the rows beside it.
    """
    B, N, H = q_BNH.shape
    (K, G), M = pages.k.shape[1:3], tables_BM.shape[1]
    pairs = _pairs(tables_BM, positions_B, window, G)
    q_BKRH = (q_BNH * H**-0.5).reshape(B, K, N // K, H)

    def group(i: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        def part(x: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(x, i * GROUP, GROUP)

        queries = q_BKRH[part(pairs.row)]
        results = _page_softmax(queries, pages, part(pairs.pages), part(pairs.seen))
        return jax.tree.map(
            lambda all_pairs, new: jax.lax.dynamic_update_slice_in_dim(
                all_pairs, new, i * GROUP, 0
            ),
            carry,
            results,
        )

    size = len(pairs.row)
    shape = (size, K, N // K)
    start = (jnp.full(shape, _NONE), jnp.zeros(shape), jnp.zeros((*shape, H)))
    best, total, summed = jax.lax.fori_loop(0, -(-pairs.ends[-1] // GROUP), group, start)
    mine_BM = jnp.minimum((pairs.ends - pairs.counts)[:, None] + jnp.arange(M), size - 1)
    is_mine = (jnp.arange(M) < pairs.counts[:, None])[..., None, None]
    best = jnp.where(is_mine, best[mine_BM], _NONE)
    weights = jnp.where(is_mine, jnp.exp(best - jnp.max(best, axis=1, keepdims=True)), 0.0)
    total = jnp.sum(weights * total[mine_BM], axis=1)

    def add_page(m: Array, joined: Array) -> Array:
        return joined + weights[:, m, ..., None] * summed[mine_BM[:, m]]

    # As many pages as the longest row has; behind a row's own it adds exact zeros.
    joined = jnp.zeros(q_BKRH.shape, jnp.float32)
    joined = jax.lax.fori_loop(0, jnp.max(pairs.counts), add_page, joined)
    return (joined / total[..., None]).astype(q_BNH.dtype).reshape(B, N, H)


def _pairs(
    tables_BM: Array, positions_B: Array, window: int | Array | None, page_size: int
) -> _Pairs:
    B, M = tables_BM.shape
    first_B = jnp.zeros_like(positions_B)
    if window is not None:
        first_B = jnp.maximum(positions_B - window + 1, 0) // page_size
    counts_B = jnp.minimum(positions_B // page_size, M - 1) - first_B + 1
    ends_B = jnp.cumsum(counts_B)
    pairs = jnp.arange(-(-B * M // GROUP) * GROUP)
    row = jnp.minimum(jnp.searchsorted(ends_B, pairs, side="right"), B - 1)
    page = pairs - (ends_B - counts_B - first_B)[row]
    is_pair = pairs < ends_B[-1]
    numbers = jnp.where(is_pair, tables_BM[row, jnp.clip(page, 0, M - 1)], TRASH)
    key_positions = page[:, None] * page_size + jnp.arange(page_size)
    seen = (key_positions <= positions_B[row, None]) & is_pair[:, None]
    if window is not None:
        seen &= key_positions > positions_B[row, None] - window
    return _Pairs(row, numbers, seen, counts_B, ends_B)


def _page_softmax(
    q: Float[Array, "W K R H"], pages: Pages, numbers: Int[Array, "W"], seen: Array
) -> tuple[Array, Array, Array]:
    """Of each pair: the best score, the sum of exp(score − best), and the values' weighted sum."""
    k, v = fetch(pages, numbers, q.dtype)
    # A product with keys that lie [H, G] takes half the time of one with [G, H] on a CPU, the
    # transposition included; the barrier keeps the compiler from undoing it.
    k = jax.lax.optimization_barrier(k.swapaxes(2, 3))
    scores = jnp.einsum("WKRH,WKHG->WKRG", q, k, preferred_element_type=jnp.float32)
    scores = jnp.where(seen[:, None, None], scores, _NONE)
    best = jnp.max(scores, axis=-1)
    weights = jnp.where(seen[:, None, None], jnp.exp(scores - best[..., None]), 0.0)
    summed = jnp.einsum(
        "WKRG,WKGH->WKRH", weights.astype(v.dtype), v, preferred_element_type=jnp.float32
    )
    return best, jnp.sum(weights, axis=-1), summed
