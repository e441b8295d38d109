"""A training step of the default codec in PyTorch, for comparison with ours.

    python3 benches/torch_step.py            # seconds a step, two ways
    aecodec train --optimizer adamw ...      # prints steps/s

The same networks, batch and objective; biases do not depend on the quality,
which spares PyTorch some work.
"""
import time

import torch
import torch.nn.functional as F

C, M, H, N, BLOCKS, BATCH, CROP = 128, 512, 128, 96, 3, 8, 192


class Rows(torch.nn.Module):
    """1x1 layers as matrix products of rows, depthwise ones channels-last."""

    def __init__(self, a, b):
        super().__init__()
        self.linear = torch.nn.Linear(a, b)

    def forward(self, x):
        return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convolution(a, b):
    return torch.nn.Conv2d(a, b, 1)


class Block(torch.nn.Module):
    def __init__(self, pointwise, c):
        super().__init__()
        self.a, self.b = pointwise(c, c), pointwise(c, c)
        self.depthwise = torch.nn.Conv2d(c, c, 3, padding=1, groups=c)
        self.up, self.down = pointwise(c, 2 * c), pointwise(c, c)

    def forward(self, x):
        x = x + self.b(self.depthwise(F.leaky_relu(self.a(x), 1 / 8)))
        a, g = self.up(x).chunk(2, 1)
        return x + self.down(a * g.clamp(-4, 4))


class Codec(torch.nn.Module):
    def __init__(self, p):
        super().__init__()
        S, block = torch.nn.Sequential, lambda c: Block(p, c)
        down, up, leaky = torch.nn.PixelUnshuffle(2), torch.nn.PixelShuffle(2), torch.nn.LeakyReLU(1 / 8)
        self.g_a = S(p(192, C), *[block(C) for _ in range(BLOCKS)], down, p(4 * C, M))
        self.h_a = S(p(M, H), leaky, down, p(4 * H, H), block(H), down, p(4 * H, N))
        self.h_s = S(p(N, 4 * H), up, block(H), p(H, 4 * H), up, block(H))
        self.prior = p(H, 2 * M)
        self.context = S(p(H + M, H), block(H), p(H, 2 * M))
        self.g_s = S(p(M, 4 * C), up, *[block(C) for _ in range(BLOCKS)], p(C, 192))
        self.z_scale = torch.nn.Parameter(torch.zeros(1, N, 1, 1))

    def bits(self, v, scale):
        h, r = 0.5 * torch.exp2(-scale), v.abs() * torch.exp2(-scale)
        p = torch.sigmoid(h - r) - torch.sigmoid(-h - r)
        return -torch.log2(p.clamp_min(1e-9)).sum()

    def forward(self, x):
        y = self.g_a(x)
        z = self.h_a(y)
        noise = lambda t: torch.rand_like(t) - 0.5
        ste = lambda t: t + (t.round() - t).detach()
        rate = self.bits(z + noise(z), self.z_scale)
        features = self.h_s(ste(z))
        rows, columns = y.shape[2:]
        parity = torch.arange(rows)[:, None] + torch.arange(columns)[None]
        first = ((parity[None] + torch.arange(M)[:, None, None]) % 2 == 0).to(x.dtype)
        mean, scale = self.prior(features).chunk(2, 1)
        known = first * (mean + ste(y - mean))
        mean2, scale2 = self.context(torch.cat([features, known], 1)).chunk(2, 1)
        mean, scale = torch.where(first > 0, mean, mean2), torch.where(first > 0, scale, scale2)
        rate = rate + self.bits(y - mean + noise(y), scale)
        return self.g_s(mean + ste(y - mean)), rate


for name, pointwise in [("matrix products", Rows), ("convolutions", convolution)]:
    torch.manual_seed(0)
    codec = Codec(pointwise).to(memory_format=torch.channels_last)
    adam = torch.optim.AdamW(codec.parameters(), 1e-4)
    x = torch.rand(BATCH, 192, CROP // 8, CROP // 8).to(memory_format=torch.channels_last)
    times = []
    for step in range(12):
        start = time.perf_counter()
        out, rate = codec(x)
        loss = rate / (BATCH * CROP * CROP) + 100 * F.mse_loss(out, x)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(codec.parameters(), 20.0)
        adam.step()
        times.append(time.perf_counter() - start)
    print(f"{name}: {sorted(times)[len(times) // 2]:.3f} s a step, {torch.get_num_threads()} threads")
