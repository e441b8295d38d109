"""A training pass: forward and hand-written backward over the kernels.

The order of tensors is the diagram of `src/model/arch.rs`. Nothing here waits
for the device, so that a whole step can be captured as a CUDA graph.
"""
import math

import torch

from codec import HALF, PIXEL_SCALE
from kernels import (
    _hyper, _known, _known_backward, _latents, _squared_error,
    by_tiles, depthwise, depthwise_backward, product, unleak, weight_grad,
)


def shuffled(x, batch, side, to, inverse):
    """Copies between `(batch side side, 4 c)` and twice the side with `c`
    channels; `to` are the tensors to fill, `inverse` makes the picture coarser."""
    if inverse:
        c = x.shape[1]
        view = x.view(batch, side, 2, side, 2 * c).transpose(2, 3)
        shape = (batch, side, side, 2, 2 * c)
    else:
        c = x.shape[1] // 4
        view = x.view(batch, side, side, 2, 2 * c).transpose(2, 3)
        shape = (batch, side, 2, side, 2 * c)
    for out in to:
        out.view(shape).copy_(view)


class Pass:
    """One batch of `batch` crops of `side x side` pixels on its way.

    `pixels` is `(rows at 1/8, 192)` bf16, `anchored` the parameters' table
    blended for each crop, `coefficients` `(batch, 2)`: what a bit and a unit of
    squared error weigh; `counter` the step number that seeds the noise.

    A crop whose loss exceeds `limit` pulls no harder than one at the limit. Now
    and then false colours meet gates that amplify each other, and such a crop's
    squared error is a million times that of all others."""

    def __init__(self, parameters, batch, side, pixels, anchored, coefficients, counter, hard, limit=math.inf):
        self.p, self.batch, self.hard, self.limit = parameters, batch, hard, limit
        self.fine, self.grid, self.hyper = side // 8, side // 16, side // 64
        self.x, self.anchored, self.coefficients, self.counter = pixels, anchored, coefficients, counter
        self.danchored = torch.zeros_like(anchored)
        self.saved = {}

    def rows(self, side, channels, dtype=HALF):
        return torch.empty(self.batch * side * side, channels, device=self.x.device, dtype=dtype)

    def bias(self, site, of=None):
        return (self.anchored if of is None else of)[:, site.column : site.column + site.outputs]

    def forward_product(self, site, x, side, **how):
        w = site.w if x.dtype == torch.float32 else site.w_half
        return product(x, w, bias=self.bias(site), per_crop=side * side, **how)

    def backward_product(self, site, x, g, side, gated=False, data=True, **how):
        """Adds the gradients of a layer that read `x`; returns that of `x`."""
        weight_grad(x, g, site.w_grad, self.bias(site, self.danchored), side * side, gated)
        if data:
            return product(g, site.w_half, transposed=True, **how)

    # A block's stream is kept in f32, with a bf16 copy for products to read.

    def block(self, sites, wide, half, side):
        a, d, b, up, down = sites
        u, _ = self.forward_product(a, half, side, leaky=True)
        v = depthwise(u, d.w, d.b, side)
        middle_half, middle = self.forward_product(b, v, side, residual=wide, wide=True)
        h, _ = self.forward_product(up, middle_half, side)
        out_half, out = self.forward_product(down, h, side, gated=True, residual=middle, wide=True)
        self.saved[a] = (half, u, v, middle_half, h)
        return out, out_half

    def block_backward(self, sites, g, side):
        a, d, b, up, down = sites
        half, u, v, middle_half, h = self.saved.pop(a)
        dh, _ = self.backward_product(down, h, g, side, gated=True, ungate=h)
        g, _ = self.backward_product(up, middle_half, dh, side, residual=g)
        dv, _ = self.backward_product(b, v, g, side)
        du = depthwise_backward(u, dv, d.w, d.w_grad, d.b_grad, side)
        g, _ = self.backward_product(a, half, du, side, residual=g)
        return g

    def blocks(self, sites, wide, half, side):
        for i in range(0, len(sites), 5):
            wide, half = self.block(sites[i : i + 5], wide, half, side)
        return wide, half

    def blocks_backward(self, sites, g, side):
        for i in reversed(range(0, len(sites), 5)):
            g = self.block_backward(sites[i : i + 5], g, side)
        return g

    def stream(self, x, side):
        """A coarser tensor `(rows, 4 c)`, spread out as a stream and its copy."""
        c = x.shape[1] // 4
        wide, half = self.rows(2 * side, c, torch.float32), self.rows(2 * side, c)
        shuffled(x, self.batch, side, (wide, half), inverse=False)
        return wide, half

    def finer(self, x, side):
        """bf16 `(rows, 4 c)` at `side` as `(4 rows, c)`."""
        out = self.rows(2 * side, x.shape[1] // 4)
        shuffled(x, self.batch, side, (out,), inverse=False)
        return out

    def coarser(self, x, side):
        """bf16 `(4 rows, c)` at twice `side` as `(rows, 4 c)`."""
        out = self.rows(side, 4 * x.shape[1])
        shuffled(x, self.batch, side, (out,), inverse=True)
        return out

    def table(self, name, of=None):
        at = self.p.columns[name]
        return (self.anchored if of is None else of)[:, at:]

    def quantise_hyper(self, backward, *tensors):
        """`(z, z_hat or its gradient, dz)`."""
        z, z_hat, dz = tensors
        n, per_crop = z.shape[1], self.hyper**2
        grid, how = by_tiles(z.shape[0], n, per_crop)
        _hyper[grid](
            z, self.table("z_step_log2"), self.table("z_scale_log2"), z_hat, self.bits, self.coefficients,
            z_hat, dz, self.table("z_step_log2", self.danchored), self.table("z_scale_log2", self.danchored),
            self.counter, z.shape[0], n, self.p.width, per_crop, HARD=self.hard, BACKWARD=backward, **how,
        )

    def quantise(self, backward, y_hat, dy=None, dprior=None, dcontext=None):
        """Fills `y_hat`, or reads it as the gradient and fills the others."""
        y, prior, context = self.y, self.prior, self.context
        grid, how = by_tiles(*y.shape, self.grid**2)
        _latents[grid](
            y, prior, context, self.table("y_step_log2"), y_hat, self.bits, self.coefficients,
            y_hat, dy, dprior, dcontext, self.table("y_step_log2", self.danchored), self.counter,
            y.shape[0], y.shape[1], self.p.width, self.grid**2, self.grid,
            HARD=self.hard, BACKWARD=backward, **how,
        )

    def forward(self):
        """Fills `bits` and `squares`, sums for each crop, and what a backward pass needs."""
        sites, batch = self.p.sites, self.batch
        fine, grid, hyper = self.fine, self.grid, self.hyper
        self.bits = torch.zeros(batch, device=self.x.device)
        self.squares = torch.zeros(batch, device=self.x.device)

        g_a = sites["g_a"]
        half, wide = self.forward_product(g_a[0], self.x, fine, wide=True)
        wide, half = self.blocks(g_a[1:-1], wide, half, fine)
        self.analysed = self.coarser(half, grid)
        _, self.y = self.forward_product(g_a[-1], self.analysed, grid, narrow=False, wide=True)

        h_a = sites["h_a"]
        self.h_first, _ = self.forward_product(h_a[0], self.y, grid, leaky=True)
        self.h_second = self.coarser(self.h_first, grid // 2)
        half, wide = self.forward_product(h_a[1], self.h_second, grid // 2, wide=True)
        wide, half = self.blocks(h_a[2:-1], wide, half, grid // 2)
        self.h_third = self.coarser(half, hyper)
        _, self.z = self.forward_product(h_a[-1], self.h_third, hyper, narrow=False, wide=True)

        self.z_hat = torch.empty_like(self.z)
        self.quantise_hyper(False, self.z, self.z_hat, None)

        h_s = sites["h_s"]
        _, t = self.forward_product(h_s[0], self.z_hat, hyper, narrow=False, wide=True)
        wide, half = self.stream(t, hyper)
        wide, self.h_fourth = self.blocks(h_s[1:6], wide, half, grid // 2)
        _, t = self.forward_product(h_s[6], self.h_fourth, grid // 2, narrow=False, wide=True)
        wide, half = self.stream(t, grid // 2)
        features, self.features = self.blocks(h_s[7:], wide, half, grid)

        _, self.prior = self.forward_product(sites["prior"][0], self.features, grid, narrow=False, wide=True)
        m, h = self.p.arch.latents, self.p.arch.hyper_synthesis_channels
        self.known = self.rows(grid, h + m, torch.float32)
        tiles, how = by_tiles(self.known.shape[0], h + m, grid * grid)
        _known[tiles](
            self.y, self.prior, self.table("y_step_log2"), features, self.known,
            self.known.shape[0], m, h, self.p.width, grid * grid, grid, **how,
        )
        context = sites["context"]
        half, wide = self.forward_product(context[0], self.known, grid, wide=True)
        _, self.mixed = self.blocks(context[1:-1], wide, half, grid)
        _, self.context = self.forward_product(context[-1], self.mixed, grid, narrow=False, wide=True)

        self.y_hat = torch.empty_like(self.y)
        self.quantise(False, self.y_hat)

        g_s = sites["g_s"]
        _, t = self.forward_product(g_s[0], self.y_hat, grid, narrow=False, wide=True)
        wide, half = self.stream(t, grid)
        _, self.synthesised = self.blocks(g_s[1:-1], wide, half, fine)
        _, self.decoded = self.forward_product(g_s[-1], self.synthesised, fine, narrow=False, wide=True)
        self.squared_error(False, None)

    def squared_error(self, backward, grad):
        """Fills `squares`, or `grad` with the gradient of the decoded pixels."""
        count, block = self.decoded.numel(), 1024
        assert count // self.batch % block == 0
        _squared_error[(count // block,)](
            self.decoded, self.x, self.coefficients, self.squares, grad, count, count // self.batch,
            BACKWARD=backward, B=block, num_warps=4,
        )

    def backward(self):
        """Adds to the parameters' gradients, the table's excepted, which are
        left in `danchored` for each crop."""
        sites = self.p.sites
        fine, grid, hyper = self.fine, self.grid, self.hyper

        weighed = self.coefficients * torch.stack([self.bits, self.squares], 1)
        loss = weighed.sum(1, keepdim=True) * self.batch
        self.coefficients = self.coefficients * (self.limit / loss).clamp_max(1.0).nan_to_num(0.0)

        g_s = sites["g_s"]
        ddecoded = torch.empty_like(self.x)
        self.squared_error(True, ddecoded)
        g, _ = self.backward_product(g_s[-1], self.synthesised, ddecoded, fine)
        g = self.blocks_backward(g_s[1:-1], g, fine)
        dy_hat, _ = self.backward_product(g_s[0], self.y_hat, self.coarser(g, grid), grid)

        dprior, dcontext = (torch.empty_like(self.prior, dtype=HALF) for _ in range(2))
        dy = torch.empty_like(self.y)
        self.quantise(True, dy_hat, dy, dprior, dcontext)

        context = sites["context"]
        g, _ = self.backward_product(context[-1], self.mixed, dcontext, grid)
        g = self.blocks_backward(context[1:-1], g, grid)
        dknown, _ = self.backward_product(context[0], self.known, g, grid)
        m, h = self.p.arch.latents, self.p.arch.hyper_synthesis_channels
        tiles, how = by_tiles(*self.y.shape, grid * grid)
        _known_backward[tiles](
            self.y, self.prior, self.table("y_step_log2"), dknown, dy, self.table("y_step_log2", self.danchored),
            self.y.shape[0], m, h, self.p.width, grid * grid, grid, **how,
        )
        g, _ = self.backward_product(
            sites["prior"][0], self.features, dprior, grid, residual=dknown, residual_row=h + m
        )

        h_s = sites["h_s"]
        g = self.blocks_backward(h_s[7:], g, grid)
        g, _ = self.backward_product(h_s[6], self.h_fourth, self.coarser(g, grid // 2), grid // 2)
        g = self.blocks_backward(h_s[1:6], g, grid // 2)
        dz_hat, _ = self.backward_product(h_s[0], self.z_hat, self.coarser(g, hyper), hyper)

        dz = torch.empty_like(self.z, dtype=HALF)
        self.quantise_hyper(True, self.z, dz_hat, dz)

        h_a = sites["h_a"]
        g, _ = self.backward_product(h_a[-1], self.h_third, dz, hyper)
        g = self.blocks_backward(h_a[2:-1], self.finer(g, hyper), grid // 2)
        g, _ = self.backward_product(h_a[1], self.h_second, g, grid // 2)
        g = self.finer(g, grid // 2)
        unleak(g, self.h_first)
        dy, _ = self.backward_product(h_a[0], self.y, g, grid, residual=dy)

        g_a = sites["g_a"]
        g, _ = self.backward_product(g_a[-1], self.analysed, dy, grid)
        g = self.blocks_backward(g_a[1:-1], self.finer(g, grid), fine)
        self.backward_product(g_a[0], self.x, g, fine, data=False)

    def figures(self):
        """Bits per pixel and squared error (0..255) of each crop."""
        pixels = (8 * self.fine) ** 2
        return self.bits / pixels, self.squares * (PIXEL_SCALE**2 / (3 * pixels))
