"""The one signature of paged attention, and the choice of its implementation."""

from typing import Literal

from jaxtyping import Array, Float, Int

from acim_kernels.decode import reference
from acim_kernels.decode.pages import Pages

Implementation = Literal["auto", "reference"]


def attention(
    q_BTNH: Float[Array, "B T N H"],
    pages: Pages,
    tables_BM: Int[Array, "B M"],
    positions_BT: Int[Array, "B T"],
    *,
    window: int | Array | None = None,
    implementation: Implementation = "auto",
) -> Float[Array, "B T N H"]:
    """Each query attends to the keys of its row at positions up to its own.

    Key s of row b lies in page `tables[b, s // G]` at offset s % G. N must be a multiple of K
    (grouped queries). window: a query at p sees the keys above p − window only. `auto` takes the
    fastest implementation that covers the input.
    """
    match implementation:
        case "auto" | "reference":
            return reference.attention(q_BTNH, pages, tables_BM, positions_BT, window)
