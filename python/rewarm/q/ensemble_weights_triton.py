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
def sum_of_tiles(
    partials, index_ptr, seed, e, n_drawn, n_tiles, offset, j, inside,
    PITCH: tl.constexpr, BLOCK_T: tl.constexpr, BLOCK_O: tl.constexpr, INDEXED: tl.constexpr,
):  # fmt: skip
    """Sum of one row of partials over the tiles of all draws of critic `e`, in their order: [BLOCK_O]."""
    total = tl.zeros([BLOCK_T, BLOCK_O], dtype=tl.float32)
    begin, end = e, e + 1
    if INDEXED:
        begin, end = e * 0, n_drawn
    for m in range(begin, end):
        place = seed * n_drawn + m
        count = n_tiles
        if INDEXED:
            count = tl.where(tl.load(index_ptr + place) == e, n_tiles, 0)
        for t0 in range(0, count, BLOCK_T):
            t = t0 + tl.arange(0, BLOCK_T)
            source = partials + (place * n_tiles + t)[:, None] * PITCH + offset + j[None, :]
            total += tl.load(source, mask=(t < n_tiles)[:, None] & inside[None, :], other=0.0)
    return tl.sum(total, axis=0)


@triton.jit
def put(target, value, inside, accumulate):
    """Stores a gradient, or adds it to that of the chunks of rows before."""
    if accumulate != 0:
        value += tl.load(target, mask=inside, other=0.0)
    tl.store(target, value, mask=inside)


@triton.jit
def weight_sum(
    x_ptr, x_seed, x_critic, actions_ptr, actions_seed, normalised, gamma, beta, dz_ptr, index_ptr,
    seed, e, first, n_rows, all_rows, repeats, n_drawn, dz_first, dz_rows, i, o,
    LAYER: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr, NORM: tl.constexpr, D: tl.constexpr, A: tl.constexpr,
    INDEXED: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_O: tl.constexpr,
    PRECISION: tl.constexpr, EMULATE: tl.constexpr,
):  # fmt: skip
    """h^T dz of critic `e` over its draws and rows, in their order: rows `i` and columns `o` of the gradient of W."""
    acc = tl.zeros([BLOCK_I, BLOCK_O], dtype=tl.float32)
    begin, end = e, e + 1
    if INDEXED:
        begin, end = e * 0, n_drawn
    for m in range(begin, end):
        place = seed * n_drawn + m
        count = n_rows
        if INDEXED:
            count = tl.where(tl.load(index_ptr + place) == e, n_rows, 0)
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
def layer_gradients(
    x_ptr, x_seed, x_critic, actions_ptr, actions_seed, normalised, gamma, beta, dz_ptr, partials, index_ptr,
    d_weight, d_bias, d_gamma, d_beta,
    piece, critic, seed, e, first, n_rows, all_rows, repeats, n_tiles, n_drawn, accumulate,
    LAYER: tl.constexpr, IN: tl.constexpr, OUT: tl.constexpr, NORM_BEFORE: tl.constexpr, NORM: tl.constexpr,
    D: tl.constexpr, A: tl.constexpr, INDEXED: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_I: tl.constexpr,
    BLOCK_O: tl.constexpr, BLOCK_T: tl.constexpr, PRECISION: tl.constexpr, EMULATE: tl.constexpr,
):  # fmt: skip
    """One tile of dW of a layer; the programs of its first rows also sum the partials of bias and LayerNorm."""
    across: tl.constexpr = (OUT + BLOCK_O - 1) // BLOCK_O
    i = (piece // across) * BLOCK_I + tl.arange(0, BLOCK_I)
    o = (piece % across) * BLOCK_O + tl.arange(0, BLOCK_O)
    dw = weight_sum(
        x_ptr, x_seed, x_critic, actions_ptr, actions_seed, normalised, gamma, beta, dz_ptr, index_ptr,
        seed, e, first, n_rows, all_rows, repeats, n_drawn, 0, n_rows, i, o,
        LAYER, IN, OUT, NORM_BEFORE, D, A, INDEXED, BLOCK_R, BLOCK_I, BLOCK_O, PRECISION, EMULATE,
    )  # fmt: skip
    inside = (i < IN)[:, None] & (o < OUT)[None, :]
    put(d_weight + critic * (IN * OUT) + i[:, None] * OUT + o[None, :], dw, inside, accumulate)
    if piece < across:
        real = o < OUT
        db = sum_of_tiles(
            partials, index_ptr, seed, e, n_drawn, n_tiles, 0, o, real, 3 * OUT, BLOCK_T, BLOCK_O, INDEXED
        )  # fmt: skip
        put(d_bias + critic * OUT + o, db, real, accumulate)
        if NORM:
            dg = sum_of_tiles(
                partials, index_ptr, seed, e, n_drawn, n_tiles, OUT, o, real, 3 * OUT, BLOCK_T, BLOCK_O, INDEXED
            )  # fmt: skip
            put(d_gamma + critic * OUT + o, dg, real, accumulate)
            d = sum_of_tiles(
                partials, index_ptr, seed, e, n_drawn, n_tiles, 2 * OUT, o, real, 3 * OUT, BLOCK_T, BLOCK_O, INDEXED
            )  # fmt: skip
            put(d_beta + critic * OUT + o, d, real, accumulate)


@triton.jit(
    do_not_specialize=["first", "n_rows", "all_rows", "repeats", "n_tiles", "n_drawn", "n_critics", "accumulate"],
)
def weight_gradients_kernel(
    x_ptr,
    x_seed,
    x_critic,
    actions_ptr,
    actions_seed,
    index_ptr,
    gammas,
    betas,
    normalised,
    dq_ptr,
    dz_ptrs,  # of backward_kernel, like all above
    partials,
    head_partials,
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
    WIDTHS: tl.constexpr,
    NORMS: tl.constexpr,
    STARTS: tl.constexpr,  # first program of every layer, of the head, and the end
    OUTPUTS: tl.constexpr,
    PADDED_OUTPUTS: tl.constexpr,
    HEAD_SUMS: tl.constexpr,
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
    last: tl.constexpr = len(WIDTHS) - 1
    for layer in tl.static_range(len(WIDTHS)):
        if (program >= STARTS[layer]) & (program < STARTS[layer + 1]):
            before = 0 if layer == 0 else layer - 1
            layer_gradients(
                x_ptr, x_seed, x_critic, actions_ptr, actions_seed, normalised[before],
                gammas[before] + critic * WIDTHS[before], betas[before] + critic * WIDTHS[before],
                dz_ptrs[layer], partials[layer], index_ptr,
                d_weights[layer], d_biases[layer], d_gammas[layer], d_betas[layer],
                program - STARTS[layer], critic, seed, e, first, n_rows, all_rows, repeats, n_tiles, n_drawn, accumulate,
                layer, D + A if layer == 0 else WIDTHS[before], WIDTHS[layer], NORMS[before], NORMS[layer], D, A,
                INDEXED, BLOCK_R, BLOCK_I, BLOCK_O, BLOCK_T, PRECISION, EMULATE,
            )  # fmt: skip
    if program >= STARTS[last + 1]:
        piece = program - STARTS[last + 1]
        width: tl.constexpr = WIDTHS[last]
        if OUTPUTS == 0:
            j = piece * BLOCK_O + tl.arange(0, BLOCK_O)
            dw = sum_of_tiles(
                head_partials, index_ptr, seed, e, n_drawn, n_tiles, 0, j, j < width, HEAD_SUMS, BLOCK_T, BLOCK_O, INDEXED
            )
            put(d_head_weight + critic * width + j, dw, j < width, accumulate)
        else:
            i = piece * BLOCK_I + tl.arange(0, BLOCK_I)
            o = tl.arange(0, PADDED_OUTPUTS)
            dw = weight_sum(
                x_ptr, x_seed, x_critic, actions_ptr, actions_seed, normalised[last],
                gammas[last] + critic * width, betas[last] + critic * width, dq_ptr, index_ptr,
                seed, e, first, n_rows, all_rows, repeats, n_drawn, first, all_rows, i, o,
                last + 1, width, OUTPUTS, NORMS[last], D, A, INDEXED, BLOCK_R, BLOCK_I, PADDED_OUTPUTS, "ieee", EMULATE,
            )  # fmt: skip
            inside = (i < width)[:, None] & (o < OUTPUTS)[None, :]
            put(d_head_weight + critic * (width * OUTPUTS) + i[:, None] * OUTPUTS + o[None, :], dw, inside, accumulate)
        if piece == 0:
            n_biases: tl.constexpr = 1 if OUTPUTS == 0 else OUTPUTS
            o = tl.arange(0, PADDED_OUTPUTS)
            db = sum_of_tiles(
                head_partials, index_ptr, seed, e, n_drawn, n_tiles, HEAD_SUMS - n_biases, o, o < n_biases,
                HEAD_SUMS, BLOCK_T, PADDED_OUTPUTS, INDEXED,
            )  # fmt: skip
            put(d_head_bias + critic * n_biases + o, db, o < n_biases, accumulate)
