"""Triton kernel of the parameter gradients of the ensemble MLP: dW = h^T dz, and the last sum of every bias and LayerNorm.

A program sums one tile of one gradient over all rows of all draws of its critic, in their order: no atomics, so that two
runs agree bit for bit, and a seed of a stack with the same seed alone.
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from rewarm.q.ensemble_mlp_kernels_triton import hidden_tile, input_tile
from rewarm.q.gemm_triton import product


@triton.jit
def put(target, value, inside, accumulate):
    """Stores a gradient, or adds it to that of the chunks of rows before."""
    if accumulate != 0:
        value += tl.load(target, mask=inside, other=0.0)
    tl.store(target, value, mask=inside)


@triton.jit
def draws_of(e, n_drawn, INDEXED: tl.constexpr):
    """The range of draws in which critic `e` can be."""
    begin, end = e, e + 1
    if INDEXED:
        begin, end = e * 0, e * 0 + n_drawn
    return begin, end


@triton.jit
def count_of(index_ptr, place, e, count, INDEXED: tl.constexpr):
    """`count` where draw `place` is critic `e`, else 0."""
    if INDEXED:
        count = tl.where(tl.load(index_ptr + place) == e, count, 0)
    return count


@triton.jit
def weight_sum(
    x_ptr, x_seed, x_critic, actions_ptr, actions_seed, normalised, gamma, beta, dz_ptr, index_ptr,
    seed, e, first, n_rows, repeats, n_drawn, dz_first, dz_rows, i, o,
    LAYER: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr, NORM: tl.constexpr, D: tl.constexpr, A: tl.constexpr,
    INDEXED: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_O: tl.constexpr,
    PRECISION: tl.constexpr, EMULATE: tl.constexpr,
):  # fmt: skip
    """h^T dz of critic `e` over its draws and rows, in their order: rows `i` and columns `o` of the gradient of W."""
    acc = tl.zeros([BLOCK_I, BLOCK_O], dtype=tl.float32)
    begin, end = draws_of(e, n_drawn, INDEXED)
    for m in range(begin, end):
        place = seed * n_drawn + m
        count = count_of(index_ptr, place, e, n_rows, INDEXED)
        for r0 in range(0, count, BLOCK_R):
            r = r0 + tl.arange(0, BLOCK_R)
            exists = r < n_rows
            if LAYER == 0:
                row = (first + r).to(tl.int64)
                x_rows = x_ptr + seed * x_seed + m * x_critic + (row // repeats) * D
                h = input_tile(x_rows, actions_ptr + seed * actions_seed + row * A, exists, i, D, A)
            else:
                h = hidden_tile(normalised + (place * n_rows + r) * IN, gamma, beta, exists, i, IN, NORM)
            source = dz_ptr + (place * dz_rows + dz_first + r)[:, None] * OUT + o[None, :]
            dz = tl.load(source, mask=exists[:, None] & (o < OUT)[None, :], other=0.0)
            acc = product(tl.trans(h), dz, acc, PRECISION, EMULATE)
    return acc


@triton.jit
def sums_of_tiles(
    partials, index_ptr, seed, e, n_drawn, n_tiles, j,
    SUMS: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_J: tl.constexpr, INDEXED: tl.constexpr,
):  # fmt: skip
    """Columns `j` of what the tiles of all draws of critic `e` left, summed in their order."""
    total = tl.zeros([BLOCK_T, BLOCK_J], dtype=tl.float32)
    begin, end = draws_of(e, n_drawn, INDEXED)
    for m in range(begin, end):
        place = seed * n_drawn + m
        count = count_of(index_ptr, place, e, n_tiles, INDEXED)
        for t0 in tl.range(0, count, BLOCK_T, num_stages=1):
            t = t0 + tl.arange(0, BLOCK_T)
            source = partials + (place * n_tiles + t)[:, None] * SUMS + j[None, :]
            total += tl.load(source, mask=(t < n_tiles)[:, None] & (j < SUMS)[None, :], other=0.0)
    return tl.sum(total, axis=0)


@triton.jit
def place_column(target, sums, j, critic, accumulate, WIDTH: tl.constexpr):
    """Stores those of `sums` that belong to this gradient: columns `j` within [0, WIDTH)."""
    put(target + critic * WIDTH + j, sums, (j >= 0) & (j < WIDTH), accumulate)


@triton.jit(do_not_specialize=["first", "n_rows", "all_rows", "repeats", "n_tiles", "n_drawn", "n_critics", "accumulate"])
def weight_gradients_kernel(
    x_ptr,
    x_seed,
    x_critic,
    actions_ptr,
    actions_seed,
    index_ptr,
    inputs,  # a tuple over the layers and the head: what was kept of the layer below; of the first, nothing
    gammas,  # likewise
    betas,  # likewise
    dq_ptr,
    dz_ptrs,  # a tuple over the layers, of backward_kernel
    partials,  # [*S, n_drawn, n_tiles, SUMS], likewise
    d_weights,  # tuples over the layers, shaped as the parameters
    d_biases,
    d_gammas,
    d_betas,
    d_head_weight,
    d_head_bias,
    first,
    n_rows,
    all_rows,
    repeats,
    n_tiles,
    n_drawn,
    n_critics,
    accumulate,  # add to the gradients of the chunks of rows before
    D: tl.constexpr,
    A: tl.constexpr,
    INPUTS: tl.constexpr,  # a tuple over the layers and the head
    INPUT_NORMS: tl.constexpr,  # likewise
    WIDTHS: tl.constexpr,  # a tuple over the layers
    NORMS: tl.constexpr,  # likewise
    OFFSETS: tl.constexpr,  # a tuple over the layers and the head: its first column of the partials
    STARTS: tl.constexpr,  # likewise: its first program; then that of the sums of tiles
    OUTPUTS: tl.constexpr,
    PADDED_OUTPUTS: tl.constexpr,
    SUMS: tl.constexpr,
    INDEXED: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_T: tl.constexpr,
    PRECISION: tl.constexpr,
    EMULATE: tl.constexpr,
):
    """Gradients of all parameters: a program sums a tile of one of them over all rows, so that no two add to one place.

    Every critic is written, those that no index drew with zeros; duplicates in the index add in their order.
    """
    program, critic = tl.program_id(0), tl.program_id(1).to(tl.int64)
    seed, e = critic // n_critics, critic % n_critics
    head: tl.constexpr = len(WIDTHS)
    for layer in tl.static_range(len(WIDTHS)):
        if (program >= STARTS[layer]) & (program < STARTS[layer + 1]):
            piece = program - STARTS[layer]
            across = (WIDTHS[layer] + BLOCK_O - 1) // BLOCK_O
            i = (piece // across) * BLOCK_I + tl.arange(0, BLOCK_I)
            o = (piece % across) * BLOCK_O + tl.arange(0, BLOCK_O)
            dw = weight_sum(
                x_ptr, x_seed, x_critic, actions_ptr, actions_seed, inputs[layer],
                gammas[layer] + critic * INPUTS[layer], betas[layer] + critic * INPUTS[layer], dz_ptrs[layer], index_ptr,
                seed, e, first, n_rows, repeats, n_drawn, 0, n_rows, i, o,
                layer, INPUTS[layer], WIDTHS[layer], INPUT_NORMS[layer], D, A,
                INDEXED, BLOCK_R, BLOCK_I, BLOCK_O, PRECISION, EMULATE,
            )  # fmt: skip
            target = d_weights[layer] + critic * (INPUTS[layer] * WIDTHS[layer])
            inside = (i < INPUTS[layer])[:, None] & (o < WIDTHS[layer])[None, :]
            put(target + i[:, None] * WIDTHS[layer] + o[None, :], dw, inside, accumulate)
    if OUTPUTS > 0:  # noqa: SIM102  (a constant decides whether the rest is compiled)
        if (program >= STARTS[head]) & (program < STARTS[head + 1]):
            i = (program - STARTS[head]) * BLOCK_I + tl.arange(0, BLOCK_I)
            o = tl.arange(0, PADDED_OUTPUTS)
            dw = weight_sum(
                x_ptr, x_seed, x_critic, actions_ptr, actions_seed, inputs[head],
                gammas[head] + critic * INPUTS[head], betas[head] + critic * INPUTS[head], dq_ptr, index_ptr,
                seed, e, first, n_rows, repeats, n_drawn, first, all_rows, i, o,
                head, INPUTS[head], OUTPUTS, INPUT_NORMS[head], D, A,
                INDEXED, BLOCK_R, BLOCK_I, PADDED_OUTPUTS, "ieee", EMULATE,
            )  # fmt: skip
            inside = (i < INPUTS[head])[:, None] & (o < OUTPUTS)[None, :]
            target = d_head_weight + critic * (INPUTS[head] * OUTPUTS)
            put(target + i[:, None] * OUTPUTS + o[None, :], dw, inside, accumulate)
    if program >= STARTS[head + 1]:
        j = (program - STARTS[head + 1]) * BLOCK_O + tl.arange(0, BLOCK_O)
        sums = sums_of_tiles(partials, index_ptr, seed, e, n_drawn, n_tiles, j, SUMS, BLOCK_T, BLOCK_O, INDEXED)
        for layer in tl.static_range(len(WIDTHS)):
            place_column(d_biases[layer], sums, j - OFFSETS[layer], critic, accumulate, WIDTHS[layer])
            if NORMS[layer]:
                place_column(d_gammas[layer], sums, j - OFFSETS[layer] - WIDTHS[layer], critic, accumulate, WIDTHS[layer])
                place_column(d_betas[layer], sums, j - OFFSETS[layer] - 2 * WIDTHS[layer], critic, accumulate, WIDTHS[layer])
        if OUTPUTS > 0:
            place_column(d_head_bias, sums, j - OFFSETS[head], critic, accumulate, OUTPUTS)
        else:
            place_column(d_head_weight, sums, j - OFFSETS[head], critic, accumulate, INPUTS[head])
            place_column(d_head_bias, sums, j - OFFSETS[head] - INPUTS[head], critic, accumulate, 1)
