"""The codec in plain float32 PyTorch with automatic gradients: what the Triton
kernels are checked against, and slow.

Follows `src/train/model.rs`, `quantize.rs` and `checkerboard.rs`.
"""
import math

import torch
import torch.nn.functional as F

from codec import LAMBDA_WEIGHT, PIXEL_SCALE, Depthwise
from noise import noise

LOG2_SCALE_MIN, LOG2_SCALE_MAX = -4.0, 7.875


class Network:
    """Runs the networks over `(rows, channels)` tensors of a batch."""

    def __init__(self, parameters, flat, blend, batch):
        self.p, self.flat, self.batch = parameters, flat, batch
        table = flat[parameters.table_at :].view(9, parameters.width)
        self.anchored = blend @ table

    def steps(self, name):
        at = self.p.columns[name]
        return self.anchored[:, at : at + self.p.arch.tables()[name]]

    def pointwise(self, site, x):
        w = self.flat[site.w_at : site.w_at + site.w.numel()].view_as(site.w)
        bias = self.anchored[:, site.column : site.column + site.outputs]
        return (x @ w).view(self.batch, -1, site.outputs).add(bias[:, None]).flatten(0, 1)

    def depthwise(self, site, x, side):
        c = site.channels
        numbers = self.flat[site.w_at : site.w_at + 10 * c].view(10, c)
        w = numbers[:9].t().reshape(c, 1, 3, 3)
        image = x.view(self.batch, side, side, c).permute(0, 3, 1, 2)
        return F.conv2d(image, w, numbers[9], padding=1, groups=c).permute(0, 2, 3, 1).reshape(-1, c)

    def block(self, sites, x, side):
        a, d, b, up, down = sites
        x = x + self.pointwise(b, self.depthwise(d, F.leaky_relu(self.pointwise(a, x), 1 / 8), side))
        left, right = self.pointwise(up, x).chunk(2, 1)
        return x + self.pointwise(down, left * right.clamp(-4, 4))

    def blocks(self, sites, x, side):
        assert isinstance(sites[1], Depthwise)
        for i in range(0, len(sites), 5):
            x = self.block(sites[i : i + 5], x, side)
        return x


def unshuffle(x, batch, side):
    c = x.shape[1]
    return x.view(batch, side // 2, 2, side // 2, 2 * c).transpose(2, 3).reshape(-1, 4 * c)


def shuffle(x, batch, side):
    c = x.shape[1] // 4
    return x.view(batch, side, side, 2, 2 * c).transpose(2, 3).reshape(-1, c)


def straight_round(v):
    return v + (torch.round(v) - v).detach()


def cost(charged, log2_scale):
    """Bits of magnitude `charged` under a logistic of scale `2^log2_scale`."""
    inside = log2_scale.clamp(LOG2_SCALE_MIN, LOG2_SCALE_MAX)
    # The value is clamped; the gradient passes where it leads back into the range.
    l = log2_scale + (inside - log2_scale).detach()
    inverse = torch.exp2(-l)
    h = 0.5 * inverse * math.log2(math.e)
    r = charged.abs() * inverse * math.log2(math.e)
    m = torch.maximum(h, r).detach()
    den = torch.exp2(h - m) + torch.exp2(-h - m) + torch.exp2(r - m) + torch.exp2(-r - m)
    return m - h + torch.log2(den) - torch.log2(1 - torch.exp2(-2 * h))


class Blocked(torch.autograd.Function):
    """The identity on log2 scales, whose gradient is blocked where it would
    lead further out of the tables' range."""

    @staticmethod
    def forward(ctx, l):
        ctx.save_for_backward(l)
        return l.clone()

    @staticmethod
    def backward(ctx, grad):
        (l,) = ctx.saved_tensors
        out = ((l < LOG2_SCALE_MIN) & (grad > 0)) | ((l > LOG2_SCALE_MAX) & (grad < 0))
        return grad.masked_fill(out, 0)


def rate(y, mean, log2_scale, step, seed, hard):
    """Reconstruction and bits of every latent."""
    v = (y - mean) * torch.exp2(-step)
    rounded = straight_round(v)
    charged = rounded if hard else v + noise(seed, v.numel(), v.device).view_as(v)
    return mean + torch.exp2(step) * rounded, cost(charged, Blocked.apply(log2_scale - step))


def forward(parameters, flat, pixels, blend, lambdas, seed, hard):
    """`pixels` is `(crops, side / 8, side / 8, 192)` in units of
    `PIXEL_SCALE`. Returns the loss, and bpp and squared error (0..255) of each crop."""
    batch, side = pixels.shape[:2]
    arch, sites = parameters.arch, parameters.sites
    net = Network(parameters, flat, blend, batch)

    x = pixels.flatten(0, 2)
    fine = net.pointwise(sites["g_a"][0], x)
    fine = net.blocks(sites["g_a"][1:-1], fine, side)
    y = net.pointwise(sites["g_a"][-1], unshuffle(fine, batch, side))
    side //= 2

    h_a = sites["h_a"]
    t = unshuffle(F.leaky_relu(net.pointwise(h_a[0], y), 1 / 8), batch, side)
    t = net.blocks(h_a[2:-1], net.pointwise(h_a[1], t), side // 2)
    z = net.pointwise(h_a[-1], unshuffle(t, batch, side // 2))

    def each(t, rows):
        return t[:, None].expand(-1, rows // batch, -1).reshape(rows, -1)

    z_step, z_scale = (each(net.steps(n), len(z)) for n in ("z_step_log2", "z_scale_log2"))
    z_hat, z_bits = rate(z, torch.zeros_like(z), z_scale + z_step, z_step, 2 * seed, hard)

    h_s = sites["h_s"]
    t = shuffle(net.pointwise(h_s[0], z_hat), batch, side // 4)
    t = net.blocks(h_s[1:6], t, side // 2)
    t = shuffle(net.pointwise(h_s[6], t), batch, side // 2)
    features = net.blocks(h_s[7:], t, side)

    m = arch.latents
    prior = net.pointwise(sites["prior"][0], features)
    step = each(net.steps("y_step_log2"), len(y))
    at = torch.arange(len(y), device=y.device)
    position = at // side % side + at % side
    first = (position[:, None] + torch.arange(m, device=y.device)) % 2 == 0
    mean = prior[:, :m].detach()
    known = mean + torch.exp2(step) * straight_round((y - mean) * torch.exp2(-step))
    known = torch.where(first, known, 0)
    context = sites["context"]
    t = net.pointwise(context[0], torch.cat([features, known], 1))
    t = net.pointwise(context[-1], net.blocks(context[1:-1], t, side))
    mean = torch.where(first, prior[:, :m], t[:, :m])
    scale = torch.where(first, prior[:, m:], t[:, m:])
    y_hat, y_bits = rate(y, mean, scale, step, 2 * seed + 1, hard)

    g_s = sites["g_s"]
    t = shuffle(net.pointwise(g_s[0], y_hat), batch, side)
    t = net.blocks(g_s[1:-1], t, 2 * side)
    decoded = net.pointwise(g_s[-1], t)

    pixels = (16 * side) ** 2
    bpp = (y_bits.view(batch, -1).sum(1) + z_bits.view(batch, -1).sum(1)) / pixels
    mse = (decoded - x).view(batch, -1).square().sum(1) * (PIXEL_SCALE**2 / (3 * pixels))
    loss = bpp * lambdas**-LAMBDA_WEIGHT + mse * lambdas ** (1 - LAMBDA_WEIGHT)
    return loss.mean(), bpp, mse
