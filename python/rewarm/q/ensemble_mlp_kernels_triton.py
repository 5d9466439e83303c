"""Triton kernels of the ensemble MLP: all layers of a row tile in one launch, forward and back, then the weight gradients.

A program holds a tile of rows of one critic of one seed and walks through the layers. LayerNorm needs whole rows, so the
tile of a product is as wide as the layer; between two layers the normalised rows pass through memory (they are what
backward needs anyway), and a barrier makes them visible to the threads that read them back. In math (wsrl, "Ensemble critic
forward" and "LN+ReLU backward" in docs/ensemble_mlp.md): z = h W + b, n = (z - mean) rstd, h' = relu(gamma n + beta).
"""

# mypy: ignore-errors

from __future__ import annotations

import triton
import triton.language as tl

from rewarm.q.gemm_triton import critic_of, product, relu, rows_of


@triton.jit
def input_tile(x_rows, action_rows, exists, k, D: tl.constexpr, A: tl.constexpr):
    """[rows, k] of cat(x, actions), columns `k`, 0 outside."""
    tile = tl.load(x_rows[:, None] + k[None, :], mask=exists[:, None] & (k < D)[None, :], other=0.0)
    if A > 0:
        j = k - D
        is_action = (j >= 0) & (j < A)
        tile += tl.load(action_rows[:, None] + j[None, :], mask=exists[:, None] & is_action[None, :], other=0.0)
    return tile


@triton.jit
def hidden_tile(n_rows, gamma, beta, exists, k, WIDTH: tl.constexpr, NORM: tl.constexpr):
    """[rows, k] of a hidden layer, columns `k`, from what was kept of it: relu(gamma n + beta); relu(z) without LayerNorm."""
    inside = k < WIDTH
    y = tl.load(n_rows[:, None] + k[None, :], mask=exists[:, None] & inside[None, :], other=0.0)
    if NORM:
        scale = tl.load(gamma + k, mask=inside, other=0.0)
        shift = tl.load(beta + k, mask=inside, other=0.0)
        y = tl.fma(y, scale[None, :], shift[None, :])
    return relu(y)


@triton.jit
def input_product(
    x_rows, action_rows, exists, weight,
    D: tl.constexpr, A: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr, EMULATE: tl.constexpr,
):  # fmt: skip
    """cat(x, actions) @ W of the first layer: [rows, PADDED]."""
    j = tl.arange(0, PADDED)
    acc = tl.zeros([BLOCK_R, PADDED], dtype=tl.float32)
    for k0 in range(0, D + A, BLOCK_K):
        k = k0 + tl.arange(0, BLOCK_K)
        w = tl.load(weight + k[:, None] * WIDTH + j[None, :], mask=(k < D + A)[:, None] & (j < WIDTH)[None, :], other=0.0)
        acc = product(input_tile(x_rows, action_rows, exists, k, D, A), w, acc, PRECISION, EMULATE)
    return acc


@triton.jit
def hidden_product(
    n_rows, gamma, beta, exists, weight,
    IN: tl.constexpr, NORM: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr, PRECISION: tl.constexpr, EMULATE: tl.constexpr,
):  # fmt: skip
    """The product h @ W of a later layer, or of a head of several outputs: [rows, PADDED]."""
    j = tl.arange(0, PADDED)
    acc = tl.zeros([BLOCK_R, PADDED], dtype=tl.float32)
    for k0 in range(0, IN, BLOCK_K):
        k = k0 + tl.arange(0, BLOCK_K)
        w = tl.load(weight + k[:, None] * WIDTH + j[None, :], mask=(k < IN)[:, None] & (j < WIDTH)[None, :], other=0.0)
        acc = product(hidden_tile(n_rows, gamma, beta, exists, k, IN, NORM), w, acc, PRECISION, EMULATE)
    return acc


@triton.jit
def normalise(z, j, WIDTH: tl.constexpr, EPS: tl.constexpr):
    """Computes n and rstd of rows whose columns past WIDTH are 0; the variance is of the centred row, not E z^2 - mean^2."""
    mean = tl.sum(z, axis=1) * (1.0 / WIDTH)
    centred = tl.where((j < WIDTH)[None, :], z - mean[:, None], 0.0)
    variance = tl.sum(centred * centred, axis=1) * (1.0 / WIDTH)
    rstd = tl.div_rn(tl.full(variance.shape, 1.0, tl.float32), tl.sqrt_rn(variance + EPS))
    return centred * rstd[:, None], rstd


@triton.jit(do_not_specialize=["first", "n_rows", "all_rows", "repeats", "n_drawn", "n_critics"])
def forward_kernel(
    x_ptr,  # [*S, *M, all_rows / repeats, D]
    x_seed,  # elements from one seed to the next, 0 where they share
    x_critic,  # likewise for critics
    actions_ptr,  # [*S, all_rows, A]
    actions_seed,
    index_ptr,  # [*S, n_drawn] int64
    rows_ptr,  # [*S, n_critics, all_rows] int32, of group_kernel
    counts_ptr,  # [*S, n_critics] int32, likewise
    weights,  # a tuple over the layers: [*S, n_critics, in, out]
    biases,  # likewise: [*S, n_critics, out]
    gammas,  # likewise
    betas,  # likewise
    head_weight,  # [*S, n_critics, width] or [*S, n_critics, width, O]
    head_bias,  # [*S, n_critics] or [*S, n_critics, O]
    normalised,  # a tuple over the layers: [slots, STRIDE], n (z without LayerNorm)
    rstds,  # likewise: [slots]
    q_ptr,  # [*S, n_drawn, all_rows] or [*S, n_drawn, all_rows, O]
    first,
    n_rows,
    all_rows,
    repeats,  # rows that share one row of x
    n_drawn,
    n_critics,
    D: tl.constexpr,
    A: tl.constexpr,
    WIDTHS: tl.constexpr,  # a tuple over the layers
    PADDED: tl.constexpr,  # likewise: the next power of two
    STRIDES: tl.constexpr,  # likewise: of the buffers
    NORMS: tl.constexpr,  # likewise: whether it has LayerNorm
    OUTPUTS: tl.constexpr,  # 0: the head is a vector
    PADDED_OUTPUTS: tl.constexpr,
    EPS: tl.constexpr,
    KEEP: tl.constexpr,  # buffers hold all that backward needs, not only what the next layer reads
    WITH_Q: tl.constexpr,
    INDEXED: tl.constexpr,
    GROUPED: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
    EMULATE: tl.constexpr,
):
    """All layers and the head, for a tile of rows of one critic of one seed."""
    tile, place = tl.program_id(0), tl.program_id(1).to(tl.int64)
    if GROUPED:  # noqa: SIM102  (a constant decides whether the rest is compiled)
        if tile * BLOCK_R >= tl.load(counts_ptr + place):
            return
    seed, m = place // n_drawn, place % n_drawn
    critic, known = critic_of(index_ptr, place, n_drawn, n_critics, INDEXED)
    row, slot, exists = rows_of(rows_ptr, counts_ptr, place, n_drawn, tile, first, n_rows, all_rows, BLOCK_R, GROUPED)
    x_rows = x_ptr + seed * x_seed + m * x_critic + (row // repeats) * D
    action_rows = actions_ptr + seed * actions_seed + row * A
    last: tl.constexpr = len(WIDTHS) - 1
    for layer in tl.static_range(len(WIDTHS)):
        if layer == 0:
            z = input_product(
                x_rows, action_rows, exists, weights[0] + critic * ((D + A) * WIDTHS[0]),
                D, A, WIDTHS[0], PADDED[0], BLOCK_R, BLOCK_K, PRECISION, EMULATE,
            )  # fmt: skip
        else:
            tl.debug_barrier()  # the rows below were written by other threads of this program
            z = hidden_product(
                normalised[layer - 1] + slot * STRIDES[layer - 1],
                gammas[layer - 1] + critic * WIDTHS[layer - 1],
                betas[layer - 1] + critic * WIDTHS[layer - 1],
                exists,
                weights[layer] + critic * (WIDTHS[layer - 1] * WIDTHS[layer]),
                WIDTHS[layer - 1], NORMS[layer - 1], WIDTHS[layer], PADDED[layer],
                BLOCK_R, BLOCK_K, PRECISION, EMULATE,
            )  # fmt: skip
        j = tl.arange(0, PADDED[layer])
        inside = j < WIDTHS[layer]
        z += tl.load(biases[layer] + critic * WIDTHS[layer] + j, mask=inside, other=0.0)[None, :]
        y = z
        if NORMS[layer]:
            z, rstd = normalise(z, j, WIDTHS[layer], EPS)
            scale = tl.load(gammas[layer] + critic * WIDTHS[layer] + j, mask=inside, other=0.0)
            shift = tl.load(betas[layer] + critic * WIDTHS[layer] + j, mask=inside, other=0.0)
            y = tl.fma(z, scale[None, :], shift[None, :])
            if KEEP:
                tl.store(rstds[layer] + slot, rstd, mask=exists)
        if (layer < last) | KEEP | (OUTPUTS > 0):
            target = normalised[layer] + slot[:, None] * STRIDES[layer] + j[None, :]
            tl.store(target, z, mask=exists[:, None] & inside[None, :])
        if layer == last and WITH_Q and OUTPUTS == 0:
            w = tl.load(head_weight + critic * WIDTHS[layer] + j, mask=inside, other=0.0)
            q = tl.sum(relu(y) * w[None, :], axis=1) + tl.load(head_bias + critic)
            tl.store(q_ptr + place * all_rows + row, tl.where(known, q, float("nan")), mask=exists)
    if WITH_Q and OUTPUTS > 0:
        tl.debug_barrier()
        q = hidden_product(
            normalised[last] + slot * STRIDES[last], gammas[last] + critic * WIDTHS[last], betas[last] + critic * WIDTHS[last],
            exists, head_weight + critic * (WIDTHS[last] * OUTPUTS),
            WIDTHS[last], NORMS[last], OUTPUTS, PADDED_OUTPUTS, BLOCK_R, BLOCK_K, "ieee", EMULATE,
        )  # fmt: skip
        o = tl.arange(0, PADDED_OUTPUTS)
        q += tl.load(head_bias + critic * OUTPUTS + o, mask=o < OUTPUTS, other=0.0)[None, :]
        target = q_ptr + (place * all_rows + row)[:, None] * OUTPUTS + o[None, :]
        tl.store(target, tl.where(known, q, float("nan")), mask=exists[:, None] & (o < OUTPUTS)[None, :])


@triton.jit
def transposed_product(
    dz_rows, exists, weight, c, within,
    WIDTH: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr, EMULATE: tl.constexpr,
):  # fmt: skip
    """The product dz @ W^T: [rows, BLOCK_C], rows `c` of W where `within`."""
    acc = tl.zeros([BLOCK_R, BLOCK_C], dtype=tl.float32)
    for k0 in range(0, WIDTH, BLOCK_K):
        k = k0 + tl.arange(0, BLOCK_K)
        dz = tl.load(dz_rows[:, None] + k[None, :], mask=exists[:, None] & (k < WIDTH)[None, :], other=0.0)
        w = tl.load(weight + c[:, None] * WIDTH + k[None, :], mask=within[:, None] & (k < WIDTH)[None, :], other=0.0)
        acc = product(dz, tl.trans(w), acc, PRECISION, EMULATE)
    return acc


@triton.jit
def normalise_backward(n, rstd, g, gamma, WIDTH: tl.constexpr):
    """Computes dz = rstd (v - mean(v) - n mean(v n)) with v = g gamma, of a tile whose columns past WIDTH are 0."""
    v = g * gamma[None, :]
    mean = tl.sum(v, axis=1) * (1.0 / WIDTH)
    along = tl.sum(v * n, axis=1) * (1.0 / WIDTH)
    return rstd[:, None] * (v - mean[:, None] - n * along[:, None])


@triton.jit(do_not_specialize=["first", "n_rows", "all_rows", "n_tiles", "n_drawn", "n_critics"])
def backward_kernel(
    index_ptr,  # [*S, n_drawn] int64
    rows_ptr,  # [*S, n_critics, all_rows] int32, of group_kernel
    counts_ptr,  # [*S, n_critics] int32, likewise
    dq_ptr,  # [*S, n_drawn, all_rows] or [..., O]; [*S, all_rows] where grouped
    weights,
    gammas,
    betas,
    head_weight,
    normalised,  # as forward_kernel kept them
    rstds,
    dz_ptrs,  # a tuple over the layers: [slots, width]
    partials,  # [*S, n_drawn, n_tiles, SUMS]: sums over a tile; of every layer dz, g n and g, then the head's
    dx_ptr,  # [*S, n_drawn, all_rows, D]; without n_drawn where grouped, unless X_BY_CRITIC
    dactions_ptr,  # [*S, n_drawn, all_rows, A]; without n_drawn where grouped
    first,
    n_rows,
    all_rows,
    n_tiles,
    n_drawn,
    n_critics,
    D: tl.constexpr,
    A: tl.constexpr,
    WIDTHS: tl.constexpr,
    PADDED: tl.constexpr,
    NORMS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    PADDED_OUTPUTS: tl.constexpr,
    OFFSETS: tl.constexpr,  # a tuple over the layers and the head: its first column of the partials
    SUMS: tl.constexpr,
    NEED_WEIGHTS: tl.constexpr,
    NEED_X: tl.constexpr,
    NEED_ACTIONS: tl.constexpr,
    X_BY_CRITIC: tl.constexpr,
    INDEXED: tl.constexpr,
    GROUPED: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
    EMULATE: tl.constexpr,
):
    """From dq down to dz of every layer, the sums of a tile for biases and LayerNorm, and the gradient of the input."""
    tile, place = tl.program_id(0), tl.program_id(1).to(tl.int64)
    if GROUPED:  # noqa: SIM102  (a constant decides whether the rest is compiled)
        if tile * BLOCK_R >= tl.load(counts_ptr + place):
            return
    critic, known = critic_of(index_ptr, place, n_drawn, n_critics, INDEXED)
    row, slot, exists = rows_of(rows_ptr, counts_ptr, place, n_drawn, tile, first, n_rows, all_rows, BLOCK_R, GROUPED)
    q_row = slot
    if not GROUPED:
        q_row = place * all_rows + row
    last: tl.constexpr = len(WIDTHS) - 1
    if NEED_WEIGHTS:
        sums = partials + (place * n_tiles + tile) * SUMS
    for layer in tl.static_range(last, -1, -1):
        j = tl.arange(0, PADDED[layer])
        inside = j < WIDTHS[layer]
        within = exists[:, None] & inside[None, :]
        if layer == last:
            if OUTPUTS == 0:
                dq = tl.load(dq_ptr + q_row, mask=exists, other=0.0)
                w = tl.load(head_weight + critic * WIDTHS[layer] + j, mask=inside, other=0.0)
                dh = dq[:, None] * w[None, :]
            else:
                dh = transposed_product(
                    dq_ptr + q_row * OUTPUTS, exists, head_weight + critic * (WIDTHS[layer] * OUTPUTS), j, inside,
                    OUTPUTS, BLOCK_R, PADDED[layer], BLOCK_K, "ieee", EMULATE,
                )  # fmt: skip
            dh = tl.where(known, dh, 0.0)  # q is a constant NaN there
        else:
            tl.debug_barrier()  # dz of the layer above was written by other threads of this program
            dh = transposed_product(
                dz_ptrs[layer + 1] + slot * WIDTHS[layer + 1],
                exists,
                weights[layer + 1] + critic * (WIDTHS[layer] * WIDTHS[layer + 1]),
                j, inside, WIDTHS[layer + 1], BLOCK_R, PADDED[layer], BLOCK_K, PRECISION, EMULATE,
            )  # fmt: skip
        # n is loaded after the product: a second tile across it would not fit into the registers.
        here = (slot * WIDTHS[layer])[:, None] + j[None, :]
        n = tl.load(normalised[layer] + here, mask=within, other=0.0)
        y = n
        if NORMS[layer]:
            gamma = tl.load(gammas[layer] + critic * WIDTHS[layer] + j, mask=inside, other=0.0)
            shift = tl.load(betas[layer] + critic * WIDTHS[layer] + j, mask=inside, other=0.0)
            y = tl.fma(n, gamma[None, :], shift[None, :])  # as forward has it, so that the mask is the same
        if layer == last and NEED_WEIGHTS:
            if OUTPUTS == 0:
                dw = tl.sum(tl.where(within, relu(y) * dq[:, None], 0.0), axis=0)
                tl.store(sums + OFFSETS[last + 1] + j, dw, mask=inside)
                tl.store(sums + OFFSETS[last + 1] + WIDTHS[layer], tl.sum(dq, axis=0))
            else:
                o = tl.arange(0, PADDED_OUTPUTS)
                real = o < OUTPUTS
                every = (q_row * OUTPUTS)[:, None] + o[None, :]
                dq = tl.load(dq_ptr + every, mask=exists[:, None] & real[None, :], other=0.0)
                tl.store(sums + OFFSETS[last + 1] + o, tl.sum(dq, axis=0), mask=real)
        dz = tl.where((y > 0.0) & within, dh, 0.0)
        if NORMS[layer]:
            if NEED_WEIGHTS:
                tl.store(sums + OFFSETS[layer] + WIDTHS[layer] + j, tl.sum(dz * n, axis=0), mask=inside)
                tl.store(sums + OFFSETS[layer] + 2 * WIDTHS[layer] + j, tl.sum(dz, axis=0), mask=inside)
            rstd = tl.load(rstds[layer] + slot, mask=exists, other=0.0)
            dz = normalise_backward(n, rstd, dz, gamma, WIDTHS[layer])
        if NEED_WEIGHTS:
            tl.store(sums + OFFSETS[layer] + j, tl.sum(tl.where(within, dz, 0.0), axis=0), mask=inside)
        tl.store(dz_ptrs[layer] + here, dz, mask=within)
    if NEED_X | NEED_ACTIONS:
        tl.debug_barrier()
        begin: tl.constexpr = 0 if NEED_X else D
        end: tl.constexpr = D + A if NEED_ACTIONS else D
        for c0 in range(begin, end, BLOCK_C):
            c = c0 + tl.arange(0, BLOCK_C)
            dinput = transposed_product(
                dz_ptrs[0] + slot * WIDTHS[0], exists, weights[0] + critic * ((D + A) * WIDTHS[0]), c, c < end,
                WIDTHS[0], BLOCK_R, BLOCK_C, BLOCK_K, PRECISION, EMULATE,
            )  # fmt: skip
            if NEED_X:
                x_row = q_row
                if X_BY_CRITIC:
                    x_row = place * all_rows + row
                target = dx_ptr + (x_row * D)[:, None] + c[None, :]
                tl.store(target, dinput, mask=exists[:, None] & (c < D)[None, :])
            if NEED_ACTIONS:
                is_action = (c >= D) & (c < end)
                target = dactions_ptr + (q_row * A)[:, None] + (c - D)[None, :]
                tl.store(target, dinput, mask=exists[:, None] & is_action[None, :])
