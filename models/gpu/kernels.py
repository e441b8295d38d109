"""Triton kernels of the trainer: products with fused epilogues, depthwise
windows, quantisation with its rate, crops, and the optimiser's element-wise
parts.

Activations are rows `(batch * height * width, channels)`; rows of one crop lie
together, `per_crop` of them. Products take bf16 (or, where a value must not be
rounded to it, TF32) and add in f32.
"""
import os

# A folder of compiled kernels that serves every installation of one version of
# Triton, see carry.py; its own key has the times of files in it.
CARRIED = os.environ.get("AECODEC_KERNELS")
if CARRIED:
    os.environ |= {"TRITON_CACHE_DIR": CARRIED, "TRITON_STORE_BINARY_ONLY": "1"}

import torch
import triton
import triton.language as tl

from codec import HALF

if CARRIED:
    triton.runtime.cache.triton_key = lambda: triton.__version__

LOG2_E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)
LOG2_SCALE_MIN: tl.constexpr = tl.constexpr(-4.0)
LOG2_SCALE_MAX: tl.constexpr = tl.constexpr(7.875)
GATE_LIMIT: tl.constexpr = tl.constexpr(4.0)
# Adding and taking away 1.5 * 2^23 rounds a float to the nearest integer, halves to even.
ROUNDER: tl.constexpr = tl.constexpr(12582912.0)
# Triton's interpreter (TRITON_INTERPRET=1) multiplies the bits of bf16 numbers, not their values.
INTERPRETED: tl.constexpr = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")


@triton.jit
def _dot(a, b, total):
    if INTERPRETED:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, total, input_precision="tf32")


@triton.jit
def _gate_of(a, at, mask, half):
    """`left * clamp(right)` of rows `left, right` of `half` columns each."""
    left = tl.load(a + at, mask=mask, other=0).to(tl.float32)
    right = tl.load(a + at + half, mask=mask, other=0).to(tl.float32)
    return (left * tl.minimum(tl.maximum(right, -GATE_LIMIT), GATE_LIMIT)).to(a.dtype.element_ty)


@triton.jit
def _product(
    a, w, bias, residual, saved, out, out_wide,
    rows, n, k, a_row, w_k, w_n, bias_row, per_crop, residual_row,
    GATED: tl.constexpr, BIAS: tl.constexpr, LEAKY: tl.constexpr, RESIDUAL: tl.constexpr,
    UNLEAK: tl.constexpr, UNGATE: tl.constexpr, NARROW: tl.constexpr, WIDE: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    r = tl.program_id(0) * BM + tl.arange(0, BM)
    c = tl.program_id(1) * BN + tl.arange(0, BN)
    row_in, column_in = r < rows, c < n
    total = tl.zeros((BM, BN), tl.float32)
    for start in range(0, k, BK):
        i = start + tl.arange(0, BK)
        inner = i < k
        at = r[:, None] * a_row + i[None, :]
        mask = row_in[:, None] & inner[None, :]
        if GATED:
            left = _gate_of(a, at, mask, k)
        else:
            left = tl.load(a + at, mask=mask, other=0)
        right = tl.load(
            w + i[:, None] * w_k + c[None, :] * w_n, mask=inner[:, None] & column_in[None, :], other=0
        )
        total = _dot(left, right, total)
    mask = row_in[:, None] & column_in[None, :]
    at = r[:, None] * n + c[None, :]
    if BIAS:
        total += tl.load(bias + (r // per_crop)[:, None] * bias_row + c[None, :], mask=mask, other=0)
    if LEAKY:
        total = tl.maximum(total, total * 0.125)
    if UNLEAK:
        total = tl.where(tl.load(saved + at, mask=mask, other=0).to(tl.float32) > 0, total, total * 0.125)
    if RESIDUAL:
        total += tl.load(residual + r[:, None] * residual_row + c[None, :], mask=mask, other=0).to(tl.float32)
    if UNGATE:
        # `total` is the gradient of a gate's output; that of its two inputs is wanted.
        at = r[:, None] * (2 * n) + c[None, :]
        left = tl.load(saved + at, mask=mask, other=0).to(tl.float32)
        right = tl.load(saved + at + n, mask=mask, other=0).to(tl.float32)
        clamped = tl.minimum(tl.maximum(right, -GATE_LIMIT), GATE_LIMIT)
        tl.store(out + at, (total * clamped).to(out.dtype.element_ty), mask=mask)
        tl.store(out + at + n, tl.where(clamped == right, total * left, 0).to(out.dtype.element_ty), mask=mask)
    else:
        if NARROW:
            tl.store(out + at, total.to(out.dtype.element_ty), mask=mask)
        if WIDE:
            tl.store(out_wide + at, total, mask=mask)


@triton.jit
def _weight_grad(
    a, g, dw, dbias, rows, k, n, a_row, bias_row, per_crop, chunk,
    GATED: tl.constexpr, BK: tl.constexpr, BN: tl.constexpr, BR: tl.constexpr,
):
    i = tl.program_id(0) * BK + tl.arange(0, BK)
    c = tl.program_id(1) * BN + tl.arange(0, BN)
    first = tl.program_id(2) * chunk
    last = tl.minimum(first + chunk, rows)
    inner, column_in = i < k, c < n
    total = tl.zeros((BK, BN), tl.float32)
    for start in range(first, last, BR):
        r = start + tl.arange(0, BR)
        row_in = r < last
        at = r[None, :] * a_row + i[:, None]
        mask = row_in[None, :] & inner[:, None]
        if GATED:
            left = _gate_of(a, at, mask, k)
        else:
            left = tl.load(a + at, mask=mask, other=0).to(g.dtype.element_ty)
        right = tl.load(g + r[:, None] * n + c[None, :], mask=row_in[:, None] & column_in[None, :], other=0)
        total = _dot(left, right, total)
        if tl.program_id(0) == 0:
            # BR divides per_crop, so these rows are one crop's.
            sums = tl.sum(right.to(tl.float32), 0)
            tl.atomic_add(dbias + (start // per_crop) * bias_row + c, sums, mask=column_in, sem="relaxed")
    mask = inner[:, None] & column_in[None, :]
    tl.atomic_add(dw + i[:, None] * n + c[None, :], total, mask=mask, sem="relaxed")


@triton.jit
def _shifted(x, r, y, col, c, mask, height, width, channels, dy: tl.constexpr, dx: tl.constexpr):
    inside = (y + dy >= 0) & (y + dy < height) & (col + dx >= 0) & (col + dx < width)
    at = (r + dy * width + dx)[:, None] * channels + c[None, :]
    return tl.load(x + at, mask=mask & inside[:, None], other=0).to(tl.float32)


@triton.jit
def _depthwise(
    x, w, bias, out, rows, height, width, channels, BR: tl.constexpr, BC: tl.constexpr
):
    r = tl.program_id(0) * BR + tl.arange(0, BR)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    y, col = r // width % height, r % width
    mask = (r < rows)[:, None] & (c < channels)[None, :]
    total = tl.zeros((BR, BC), tl.float32)
    for dy in tl.static_range(3):
        for dx in tl.static_range(3):
            tap = tl.load(w + (dy * 3 + dx) * channels + c, mask=c < channels, other=0)
            total += tap[None, :] * _shifted(x, r, y, col, c, mask, height, width, channels, dy - 1, dx - 1)
    total += tl.load(bias + c, mask=c < channels, other=0)[None, :]
    tl.store(out + r[:, None] * channels + c[None, :], total.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _depthwise_backward(
    u, g, w, du, dw, dbias, rows, height, width, channels, tiles,
    BR: tl.constexpr, BC: tl.constexpr,
):
    """`u` is what the window read, the output of a leaky ReLU; `du` is the
    gradient in front of that ReLU."""
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    column_in = c < channels
    w0 = tl.load(w + 0 * channels + c, mask=column_in, other=0)[None, :]
    w1 = tl.load(w + 1 * channels + c, mask=column_in, other=0)[None, :]
    w2 = tl.load(w + 2 * channels + c, mask=column_in, other=0)[None, :]
    w3 = tl.load(w + 3 * channels + c, mask=column_in, other=0)[None, :]
    w4 = tl.load(w + 4 * channels + c, mask=column_in, other=0)[None, :]
    w5 = tl.load(w + 5 * channels + c, mask=column_in, other=0)[None, :]
    w6 = tl.load(w + 6 * channels + c, mask=column_in, other=0)[None, :]
    w7 = tl.load(w + 7 * channels + c, mask=column_in, other=0)[None, :]
    w8 = tl.load(w + 8 * channels + c, mask=column_in, other=0)[None, :]
    s0 = tl.zeros((BR, BC), tl.float32)
    s1, s2, s3, s4, s5, s6, s7, s8, sb = s0, s0, s0, s0, s0, s0, s0, s0, s0
    for tile in range(tiles):
        r = (tl.program_id(0) * tiles + tile) * BR + tl.arange(0, BR)
        y, col = r // width % height, r % width
        mask = (r < rows)[:, None] & column_in[None, :]
        at = r[:, None] * channels + c[None, :]
        x = tl.load(u + at, mask=mask, other=0).to(tl.float32)
        # Tap (dy, dx) read x at (+dy, +dx), so x went into g at (-dy, -dx).
        t = _shifted(g, r, y, col, c, mask, height, width, channels, 1, 1)
        total = w0 * t
        s0 += x * t
        t = _shifted(g, r, y, col, c, mask, height, width, channels, 1, 0)
        total += w1 * t
        s1 += x * t
        t = _shifted(g, r, y, col, c, mask, height, width, channels, 1, -1)
        total += w2 * t
        s2 += x * t
        t = _shifted(g, r, y, col, c, mask, height, width, channels, 0, 1)
        total += w3 * t
        s3 += x * t
        t = _shifted(g, r, y, col, c, mask, height, width, channels, 0, 0)
        total += w4 * t
        s4 += x * t
        sb += t
        t = _shifted(g, r, y, col, c, mask, height, width, channels, 0, -1)
        total += w5 * t
        s5 += x * t
        t = _shifted(g, r, y, col, c, mask, height, width, channels, -1, 1)
        total += w6 * t
        s6 += x * t
        t = _shifted(g, r, y, col, c, mask, height, width, channels, -1, 0)
        total += w7 * t
        s7 += x * t
        t = _shifted(g, r, y, col, c, mask, height, width, channels, -1, -1)
        total += w8 * t
        s8 += x * t
        tl.store(du + at, tl.where(x > 0, total, total * 0.125).to(du.dtype.element_ty), mask=mask)
    tl.atomic_add(dw + 0 * channels + c, tl.sum(s0, 0), mask=column_in, sem="relaxed")
    tl.atomic_add(dw + 1 * channels + c, tl.sum(s1, 0), mask=column_in, sem="relaxed")
    tl.atomic_add(dw + 2 * channels + c, tl.sum(s2, 0), mask=column_in, sem="relaxed")
    tl.atomic_add(dw + 3 * channels + c, tl.sum(s3, 0), mask=column_in, sem="relaxed")
    tl.atomic_add(dw + 4 * channels + c, tl.sum(s4, 0), mask=column_in, sem="relaxed")
    tl.atomic_add(dw + 5 * channels + c, tl.sum(s5, 0), mask=column_in, sem="relaxed")
    tl.atomic_add(dw + 6 * channels + c, tl.sum(s6, 0), mask=column_in, sem="relaxed")
    tl.atomic_add(dw + 7 * channels + c, tl.sum(s7, 0), mask=column_in, sem="relaxed")
    tl.atomic_add(dw + 8 * channels + c, tl.sum(s8, 0), mask=column_in, sem="relaxed")
    tl.atomic_add(dbias + c, tl.sum(sb, 0), mask=column_in, sem="relaxed")


@triton.jit
def _unleak(g, u, count, B: tl.constexpr):
    """The gradient `g` in front of a leaky ReLU of output `u`, in place."""
    i = tl.program_id(0) * B + tl.arange(0, B)
    mask = i < count
    grad = tl.load(g + i, mask=mask, other=0).to(tl.float32)
    positive = tl.load(u + i, mask=mask, other=0).to(tl.float32) > 0
    tl.store(g + i, tl.where(positive, grad, grad * 0.125).to(g.dtype.element_ty), mask=mask)


@triton.jit
def _uniform(seed, index):
    h = seed.to(tl.uint32) ^ (index.to(tl.uint32) * 0x9E3779B9)
    h = h ^ (h >> 16)
    h = h * 0x85EBCA6B
    h = h ^ (h >> 13)
    h = h * 0xC2B2AE35
    h = h ^ (h >> 16)
    return (h >> 8).to(tl.float32) * (1.0 / 16777216.0) - 0.5


@triton.jit
def _charged(v, step, salt, index, HARD: tl.constexpr):
    """What the rate is charged for: the symbol, or `v` with noise."""
    if HARD:
        return (v + ROUNDER) - ROUNDER
    return v + _uniform(tl.load(step) * 2 + salt, index)


@triton.jit
def _logistic(charged, log2_scale):
    """Bits, and their derivatives by the value and by its log2 scale
    (`logistic_cost` in `src/train/quantize.rs`)."""
    l = tl.minimum(tl.maximum(log2_scale, LOG2_SCALE_MIN), LOG2_SCALE_MAX)
    inverse = tl.exp2(-l)
    h = 0.5 * inverse * LOG2_E
    r = tl.abs(charged) * inverse * LOG2_E
    m = tl.maximum(h, r)
    eh, nh = tl.exp2(h - m), tl.exp2(-h - m)
    er, nr = tl.exp2(r - m), tl.exp2(-r - m)
    den = eh + nh + er + nr
    tail = tl.exp2(-2.0 * h)
    rest = 1.0 - tail
    bits = m - h + tl.log2(den) - tl.log2(rest)
    by_r = (er - nr) / den
    by_h = (eh - nh) / den - (1.0 + tail) / rest
    by_value = tl.where(charged < 0, -by_r, by_r) * inverse * LOG2_E
    by_scale = -(by_r * r + by_h * h) * LN_2
    blocked = ((log2_scale < LOG2_SCALE_MIN) & (by_scale > 0)) | ((log2_scale > LOG2_SCALE_MAX) & (by_scale < 0))
    return bits, by_value, tl.where(blocked, 0.0, by_scale)


@triton.jit
def _hyper(
    z, steps, scales, z_hat, bits, coefficients, dz_hat, dz, dsteps, dscales, counter,
    rows, n, table_row, per_crop,
    HARD: tl.constexpr, BACKWARD: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):
    """Hyper-latents: quantised and charged, or that step's gradients."""
    r = tl.program_id(0) * BR + tl.arange(0, BR)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    mask = (r < rows)[:, None] & (c < n)[None, :]
    at = r[:, None] * n + c[None, :]
    crop = tl.program_id(0) * BR // per_crop
    t = tl.load(steps + crop * table_row + c, mask=c < n, other=0)[None, :]
    l = tl.load(scales + crop * table_row + c, mask=c < n, other=0)[None, :]
    width, inverse = tl.exp2(t), tl.exp2(-t)
    v = tl.load(z + at, mask=mask, other=0) * inverse
    charged = _charged(v, counter, 0, at, HARD)
    cost, by_value, by_scale = _logistic(charged, l + tl.zeros_like(v))
    rounded = (v + ROUNDER) - ROUNDER
    if BACKWARD:
        weight = tl.load(coefficients + crop * 2)
        g = tl.load(dz_hat + at, mask=mask, other=0).to(tl.float32)
        by_value *= weight
        tl.store(dz + at, (g + by_value * inverse).to(dz.dtype.element_ty), mask=mask)
        dt = tl.where(mask, g * (rounded - v) * width * LN_2 - by_value * v * LN_2, 0.0)
        tl.atomic_add(dsteps + crop * table_row + c, tl.sum(dt, 0), mask=c < n, sem="relaxed")
        dl = tl.where(mask, by_scale * weight, 0.0)
        tl.atomic_add(dscales + crop * table_row + c, tl.sum(dl, 0), mask=c < n, sem="relaxed")
    else:
        tl.store(z_hat + at, width * rounded, mask=mask)
        tl.atomic_add(bits + crop, tl.sum(tl.where(mask, cost, 0.0)), sem="relaxed")


@triton.jit
def _in_first_half(r, c, width):
    """`(rows, columns)` of `in_first_half`; pictures have an even number of rows."""
    return ((r // width + r % width)[:, None] + c[None, :]) % 2 == 0


@triton.jit
def _known(
    y, prior, steps, features, known, rows, m, h, table_row, per_crop, width,
    BR: tl.constexpr, BC: tl.constexpr,
):
    """What the context network reads: the features, then the first half's
    reconstructions, zero elsewhere."""
    r = tl.program_id(0) * BR + tl.arange(0, BR)
    i = tl.program_id(1) * BC + tl.arange(0, BC)
    row_in = (r < rows)[:, None]
    crop = tl.program_id(0) * BR // per_crop
    copied = tl.load(features + r[:, None] * h + i[None, :], mask=row_in & (i < h)[None, :], other=0)
    c = i - h
    latent = (c >= 0) & (c < m)
    mask = row_in & latent[None, :]
    t = tl.load(steps + crop * table_row + c, mask=latent, other=0)[None, :]
    mean = tl.load(prior + r[:, None] * (2 * m) + c[None, :], mask=mask, other=0)
    v = (tl.load(y + r[:, None] * m + c[None, :], mask=mask, other=0) - mean) * tl.exp2(-t)
    value = mean + tl.exp2(t) * ((v + ROUNDER) - ROUNDER)
    # c + h keeps the parity's operand positive.
    first = _in_first_half(r, i + (h % 2), width)
    value = tl.where(first & mask, value, 0.0)
    value = tl.where((i < h)[None, :], copied, value)
    tl.store(known + r[:, None] * (h + m) + i[None, :], value, mask=row_in & (i < h + m)[None, :])


@triton.jit
def _known_backward(
    y, prior, steps, dknown, dy, dsteps, rows, m, h, table_row, per_crop, width,
    BR: tl.constexpr, BC: tl.constexpr,
):
    """Adds to `dy` what comes back through the first half's reconstructions."""
    r = tl.program_id(0) * BR + tl.arange(0, BR)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    mask = (r < rows)[:, None] & (c < m)[None, :]
    crop = tl.program_id(0) * BR // per_crop
    at = r[:, None] * m + c[None, :]
    first = _in_first_half(r, c, width) & mask
    g = tl.load(dknown + r[:, None] * (h + m) + h + c[None, :], mask=first, other=0).to(tl.float32)
    t = tl.load(steps + crop * table_row + c, mask=c < m, other=0)[None, :]
    mean = tl.load(prior + r[:, None] * (2 * m) + c[None, :], mask=mask, other=0)
    v = (tl.load(y + at, mask=mask, other=0) - mean) * tl.exp2(-t)
    tl.store(dy + at, tl.load(dy + at, mask=mask, other=0) + g, mask=mask)
    dt = g * (((v + ROUNDER) - ROUNDER) - v) * tl.exp2(t) * LN_2
    tl.atomic_add(dsteps + crop * table_row + c, tl.sum(dt, 0), mask=c < m, sem="relaxed")


@triton.jit
def _latents(
    y, prior, context, steps, y_hat, bits, coefficients, dy_hat, dy, dprior, dcontext, dsteps, counter,
    rows, m, table_row, per_crop, width,
    HARD: tl.constexpr, BACKWARD: tl.constexpr, BR: tl.constexpr, BC: tl.constexpr,
):
    """Latents: quantised and charged, or that step's gradients."""
    r = tl.program_id(0) * BR + tl.arange(0, BR)
    c = tl.program_id(1) * BC + tl.arange(0, BC)
    mask = (r < rows)[:, None] & (c < m)[None, :]
    crop = tl.program_id(0) * BR // per_crop
    at = r[:, None] * m + c[None, :]
    at_params = r[:, None] * (2 * m) + c[None, :]
    first = _in_first_half(r, c, width)
    t = tl.load(steps + crop * table_row + c, mask=c < m, other=0)[None, :]
    mean = tl.load(prior + at_params, mask=mask & first, other=0)
    mean += tl.load(context + at_params, mask=mask & ~first, other=0)
    scale = tl.load(prior + at_params + m, mask=mask & first, other=0)
    scale += tl.load(context + at_params + m, mask=mask & ~first, other=0)
    step, inverse = tl.exp2(t), tl.exp2(-t)
    v = (tl.load(y + at, mask=mask, other=0) - mean) * inverse
    charged = _charged(v, counter, 1, at, HARD)
    cost, by_value, by_scale = _logistic(charged, scale - t)
    rounded = (v + ROUNDER) - ROUNDER
    if BACKWARD:
        weight = tl.load(coefficients + crop * 2)
        g = tl.load(dy_hat + at, mask=mask, other=0).to(tl.float32)
        by_value *= weight
        by_scale *= weight
        tl.store(dy + at, g + by_value * inverse, mask=mask)
        dmean = -by_value * inverse
        tl.store(dprior + at_params, tl.where(first, dmean, 0.0).to(dprior.dtype.element_ty), mask=mask)
        tl.store(dprior + at_params + m, tl.where(first, by_scale, 0.0).to(dprior.dtype.element_ty), mask=mask)
        tl.store(dcontext + at_params, tl.where(first, 0.0, dmean).to(dcontext.dtype.element_ty), mask=mask)
        tl.store(dcontext + at_params + m, tl.where(first, 0.0, by_scale).to(dcontext.dtype.element_ty), mask=mask)
        dt = g * (rounded - v) * step * LN_2 - by_value * v * LN_2 - by_scale
        dt = tl.where(mask, dt, 0.0)
        tl.atomic_add(dsteps + crop * table_row + c, tl.sum(dt, 0), mask=c < m, sem="relaxed")
    else:
        tl.store(y_hat + at, mean + step * rounded, mask=mask)
        tl.atomic_add(bits + crop, tl.sum(tl.where(mask, cost, 0.0)), sem="relaxed")


@triton.jit
def _squared_error(decoded, x, coefficients, sums, grad, count, per_crop, BACKWARD: tl.constexpr, B: tl.constexpr):
    """Sums of squares per crop, or the gradient; `B` divides `per_crop` numbers."""
    i = tl.program_id(0) * B + tl.arange(0, B)
    mask = i < count
    crop = tl.program_id(0) * B // per_crop
    d = tl.load(decoded + i, mask=mask, other=0) - tl.load(x + i, mask=mask, other=0).to(tl.float32)
    if BACKWARD:
        tl.store(grad + i, (2.0 * tl.load(coefficients + crop * 2 + 1) * d).to(grad.dtype.element_ty), mask=mask)
    else:
        tl.atomic_add(sums + crop, tl.sum(d * d), sem="relaxed")


@triton.jit
def _crop(atlas, places, mixes, counter, out, crops, side, BLOCK: tl.constexpr):
    """Cuts the crops of a step out of the pictures, 8x8 pixels a row of 192.

    `places` is `(steps, crops, 3)`: first byte, bytes a line, and flags (1
    transpose, 2 upside down, 4 mirror); `mixes` `(steps, crops, 9)` mixes the colours."""
    crop = tl.program_id(1)
    at = (tl.load(counter) * crops + crop).to(tl.int64)
    offset, line, flags = tl.load(places + at * 3), tl.load(places + at * 3 + 1), tl.load(places + at * 3 + 2)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < side * side
    # Number `i` counts pixels in the order of the output's rows.
    row, within = i // 64, i % 64
    y = row // (side // 8) * 8 + within // 8
    x = row % (side // 8) * 8 + within % 8
    flipped_y = tl.where((flags & 1) != 0, x, y)
    flipped_x = tl.where((flags & 1) != 0, y, x)
    y = tl.where((flags & 2) != 0, side - 1 - flipped_y, flipped_y)
    x = tl.where((flags & 4) != 0, side - 1 - flipped_x, flipped_x)
    source = atlas + offset + y * line + x * 3
    p0 = tl.load(source, mask=mask, other=128).to(tl.float32) - 128.0
    p1 = tl.load(source + 1, mask=mask, other=128).to(tl.float32) - 128.0
    p2 = tl.load(source + 2, mask=mask, other=128).to(tl.float32) - 128.0
    for colour in tl.static_range(3):
        m0 = tl.load(mixes + at * 9 + colour * 3)
        m1 = tl.load(mixes + at * 9 + colour * 3 + 1)
        m2 = tl.load(mixes + at * 9 + colour * 3 + 2)
        v = tl.floor(m0 * p0 + m1 * p1 + m2 * p2 + 128.5)
        v = (tl.minimum(tl.maximum(v, 0.0), 255.0) - 128.0) / 64.0
        to = (crop.to(tl.int64) * side * side + i) * 3 + colour
        tl.store(out + to, v.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _moment(g, m, norm, clip, beta1, count, B: tl.constexpr):
    """Clips the gradient, in place, and adds it to the first moment."""
    i = tl.program_id(0) * B + tl.arange(0, B)
    mask = i < count
    length = tl.load(norm)
    scale = tl.minimum(clip / length, 1.0)
    grad = tl.load(g + i, mask=mask, other=0)
    # A step without a finite gradient counts as one with none.
    grad = tl.where(length < 1e30, grad * scale, 0.0)
    tl.store(g + i, grad, mask=mask)
    tl.store(m + i, beta1 * tl.load(m + i, mask=mask, other=0) + (1 - beta1) * grad, mask=mask)


@triton.jit
def _adam(m, g, v, update, schedule, counter, beta2, count, B: tl.constexpr):
    """Adam's update from moment and gradient in whatever basis they are;
    `schedule` is `(steps, 3)`: rate and the two bias corrections."""
    i = tl.program_id(0) * B + tl.arange(0, B)
    mask = i < count
    at = tl.load(counter) * 3
    first, second = tl.load(schedule + at + 1), tl.load(schedule + at + 2)
    grad = tl.load(g + i, mask=mask, other=0)
    square = beta2 * tl.load(v + i, mask=mask, other=0) + (1 - beta2) * grad * grad
    tl.store(v + i, square, mask=mask)
    step = tl.load(m + i, mask=mask, other=0) / first / (tl.sqrt(square / second) + 1e-8)
    tl.store(update + i, step, mask=mask)


@triton.jit
def _apply(weights, half, ema, update, rates, schedule, counter, decay, count, B: tl.constexpr):
    """Moves the weights, their bf16 copy and their average; `rates` multiplies the rate."""
    i = tl.program_id(0) * B + tl.arange(0, B)
    mask = i < count
    rate = tl.load(schedule + tl.load(counter) * 3) * tl.load(rates + i, mask=mask, other=0)
    w = tl.load(weights + i, mask=mask, other=0) - rate * tl.load(update + i, mask=mask, other=0)
    tl.store(weights + i, w, mask=mask)
    tl.store(half + i, w.to(half.dtype.element_ty), mask=mask)
    e = tl.load(ema + i, mask=mask, other=0)
    tl.store(ema + i, e + (1 - decay) * (w - e), mask=mask)


def product(
    a, w, *, bias=None, residual=None, leaky=False, unleak=None, ungate=None, gated=False,
    narrow=True, wide=False, transposed=False, per_crop=1, residual_row=None,
):
    """`a @ w` (or `a @ w.T`) with what follows it, as `(bf16, f32)` of what is asked for.

    `bias` is `(crops, n)`, a slice of a wider table; `residual` is added;
    `gated` takes the gate of `a`, `(rows, 2 k)`, for `a`; `unleak` and `ungate`
    are what a backward pass saved of the layer in front."""
    k, n = (w.shape[1], w.shape[0]) if transposed else w.shape
    rows = a.shape[0]
    half = torch.empty(rows, 2 * n if ungate is not None else n, device=a.device, dtype=HALF) if narrow else None
    full = torch.empty(rows, n, device=a.device) if wide else None
    saved = unleak if unleak is not None else ungate
    bk = 32 if a.dtype == torch.float32 else 64
    bn = 64 if n <= 64 else 128
    bm = 64 if rows * triton.cdiv(n, bn) < 128 * 264 else 128
    grid = (triton.cdiv(rows, bm), triton.cdiv(n, bn))
    w_k, w_n = (w.stride(1), w.stride(0)) if transposed else w.stride()
    _product[grid](
        a, w, bias, residual, saved, half, full,
        rows, n, k, a.stride(0), w_k, w_n, bias.stride(0) if bias is not None else 0, per_crop,
        residual_row or n,
        GATED=gated, BIAS=bias is not None, LEAKY=leaky, RESIDUAL=residual is not None,
        UNLEAK=unleak is not None, UNGATE=ungate is not None, NARROW=narrow, WIDE=wide,
        BM=bm, BN=bn, BK=bk, num_warps=8 if bm == 128 and bn == 128 else 4, num_stages=3,
    )
    return half, full


def weight_grad(a, g, dw, dbias, per_crop, gated=False):
    """Adds `a.T @ g` to `dw` and the crops' column sums of `g` to `dbias`."""
    rows, n = g.shape
    k = dw.shape[0]
    br = min(64, per_crop)
    tiles = triton.cdiv(k, 64) * triton.cdiv(n, 64)
    chunk = triton.cdiv(triton.cdiv(rows, max(1, 264 // tiles)), br) * br
    _weight_grad[(triton.cdiv(k, 64), triton.cdiv(n, 64), triton.cdiv(rows, chunk))](
        a, g, dw, dbias, rows, k, n, a.stride(0), dbias.stride(0), per_crop, chunk,
        GATED=gated, BK=64, BN=64, BR=br, num_warps=4, num_stages=3,
    )


def depthwise(x, w, bias, side):
    """3x3 windows over square pictures, zero padding."""
    rows, channels = x.shape
    out = torch.empty_like(x)
    _depthwise[(triton.cdiv(rows, 32), triton.cdiv(channels, 64))](
        x, w, bias, out, rows, side, side, channels, BR=32, BC=64, num_warps=4
    )
    return out


def depthwise_backward(u, g, w, dw, dbias, side):
    """The gradient in front of the leaky ReLU that made `u`; adds those of the window."""
    rows, channels = u.shape
    du = torch.empty_like(u)
    blocks = triton.cdiv(channels, 64)
    tiles = triton.cdiv(rows, 16 * max(1, 528 // blocks))
    _depthwise_backward[(triton.cdiv(rows, 16 * tiles), blocks)](
        u, g, w, du, dw, dbias, rows, side, side, channels, tiles, BR=16, BC=64, num_warps=4
    )
    return du


def unleak(g, u):
    """The gradient in front of a leaky ReLU, in place."""
    _unleak[(triton.cdiv(g.numel(), 1024),)](g, u, g.numel(), B=1024, num_warps=4)


def by_tiles(rows, columns, per_crop):
    """Grid and block sizes for kernels whose blocks stay within a crop."""
    br, bc = min(16, per_crop), 64
    return (triton.cdiv(rows, br), triton.cdiv(columns, bc)), dict(BR=br, BC=bc, num_warps=4)


def flat(kernel, count, *args):
    """Launches an element-wise kernel whose last argument is its count."""
    kernel[(triton.cdiv(count, 1024),)](*args, count, B=1024, num_warps=4)
