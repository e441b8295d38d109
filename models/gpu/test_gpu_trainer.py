"""Checks the kernels against plain PyTorch with automatic gradients.

    python3 models/gpu/test_gpu_trainer.py                      # on a GPU
    TRITON_INTERPRET=1 python3 models/gpu/test_gpu_trainer.py   # without one, small and slow
"""
import os
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import reference
from codec import HALF, LAMBDA_WEIGHT, PIXEL_SCALE, Arch, Parameters, blend, lambdas
from network import Pass
from pictures import Pictures
from soap import BETA1, BETA2, Soap
from train import Trainer

ON_GPU = torch.cuda.is_available() and not os.environ.get("TRITON_INTERPRET")

IMAGES = Path(__file__).parents[2] / "testdata/images"
SMALL = Arch(16, 1, 16, 1, 24, 16, 16, 16, 16, 16)


def initial(arch):
    """Some weights that are not zero."""
    generator = np.random.default_rng(7)
    sizes = {name: len(at) for name, at in Parameters(arch, "cpu").order().items()}
    scale = {"y_step_log2": 0.0, "z_step_log2": 0.0, "z_scale_log2": 0.0}
    return {n: (generator.normal(size=k) * scale.get(n, 0.15)).astype(np.float32) for n, k in sizes.items()}


def check(arch, batch, side, hard):
    """Compares figures and gradients at random weights."""
    device = "cuda" if ON_GPU else "cpu"
    generator = torch.Generator().manual_seed(1)
    parameters = Parameters(arch, device)
    flat = torch.randn(len(parameters.flat), generator=generator)
    for site in (site for sites in parameters.sites.values() for site in sites):
        scale = getattr(site, "inputs", 9) ** -0.5
        flat[site.w_at : site.w_at + site.w.numel()] *= scale
        if hasattr(site, "channels"):
            flat[site.w_at + site.w.numel() :][: site.channels] *= 0.1
    flat[parameters.table_at :] *= 0.2
    # Steps about as in a trained model: a few per latent's deviation.
    parameters.flat.copy_(flat)
    parameters.half.copy_(parameters.flat)

    positions = (torch.arange(batch) + 0.3) / batch * 8
    lam = torch.from_numpy(lambdas(positions.numpy())).float().to(device)
    pixels = torch.randint(-128, 128, (batch, side // 8, side // 8, 192), generator=generator) / PIXEL_SCALE
    pixels = pixels.to(device)
    mixed = torch.from_numpy(blend(positions.numpy())).to(device)
    counter = torch.tensor([12345], dtype=torch.int32, device=device)

    leaf = parameters.flat.clone().requires_grad_()
    loss, bpp, mse = reference.forward(parameters, leaf, pixels, mixed, lam, 12345, hard)
    loss.backward()

    count = side * side
    coefficients = torch.stack(
        [lam**-LAMBDA_WEIGHT / (count * batch), lam ** (1 - LAMBDA_WEIGHT) * (PIXEL_SCALE**2 / (3 * count * batch))], 1
    )
    parameters.grad.zero_()
    p = Pass(
        parameters, batch, side, pixels.flatten(0, 2).to(HALF), mixed @ parameters.table,
        coefficients, counter, hard,
    )
    p.forward()
    p.backward()
    parameters.table_grad.copy_(mixed.t() @ p.danchored)
    ours_bpp, ours_mse = p.figures()

    def distance(ours, theirs):
        return float((ours - theirs).norm() / theirs.norm().clamp_min(1e-20))

    worst = {"bpp": distance(ours_bpp, bpp.detach()), "mse": distance(ours_mse, mse.detach())}
    for name, at in parameters.order().items():
        at = torch.from_numpy(at).to(device)
        worst[name] = distance(parameters.grad[at], leaf.grad[at])
    print(arch, batch, side, "hard" if hard else "noise", {k: round(v, 4) for k, v in worst.items()}, flush=True)
    return parameters, leaf.grad, worst


def check_crops():
    """Crops come out as cutting, flipping and transposing the pictures says."""
    device = "cuda" if ON_GPU else "cpu"
    pictures = Pictures([IMAGES], 64, device)
    trainer = Trainer(SMALL, initial(SMALL), pictures, 2, 3, 0.99)
    drawn = trainer.chunk(0)
    trainer.load_chunk(drawn, np.zeros(0))
    trainer.counter += 1
    trainer.gradient(False)
    atlas = pictures.atlas.cpu().numpy()
    for crop in range(2):
        at, line, flags = drawn[0][1, crop]
        y, x = np.mgrid[:64, :64]
        y, x = (x, y) if flags & 1 else (y, x)
        y = 63 - y if flags & 2 else y
        x = 63 - x if flags & 4 else x
        rgb = atlas[at + y * line + x * 3 + np.arange(3)[:, None, None]] - 128.0
        rgb = np.einsum("ij,jyx->yxi", drawn[1][1, crop].reshape(3, 3), rgb)
        rgb = (np.floor(rgb + 128.5).clip(0, 255) - 128) / PIXEL_SCALE
        rows = rgb.reshape(8, 8, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(64, 192)
        ours = trainer.pixels.float().cpu().numpy()[crop * 64 :][:64]
        assert (ours == rows).all(), (crop, flags)
    print("crops agree", flush=True)


def check_soap():
    """Steps of the optimiser, against its definition in float64."""
    device = "cuda" if ON_GPU else "cpu"
    parameters = Parameters(SMALL, device)
    generator = torch.Generator().manual_seed(2)
    soap = Soap(parameters, 1.0, 0.99)
    schedule = torch.zeros(8, 3, device=device)
    counter = torch.zeros(1, dtype=torch.int32, device=device)
    at, count, k, n = parameters.groups[0]
    span = slice(at, at + k * n)
    w = parameters.flat[span].view(k, n).double().cpu()
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    covariances = [torch.zeros(k, k).double(), torch.zeros(n, n).double()]
    for step in range(4):
        parameters.grad.copy_(torch.randn(len(parameters.grad), generator=generator))
        schedule[step] = torch.tensor([1e-2, 1 - BETA1 ** (step + 1), 1 - BETA2 ** (step + 1)])
        g = parameters.grad.double().cpu()
        g = (g / g.norm())[span].view(k, n)
        group = soap.groups[0]
        ql, qr = group.left.basis[0].double().cpu(), group.right.basis[0].double().cpu()
        counter.fill_(step)
        soap.apply(schedule, counter)
        soap.refresh()
        m = BETA1 * m + (1 - BETA1) * g
        covariances = [BETA2 * c + (1 - BETA2) * x for c, x in zip(covariances, (g @ g.mT, g.mT @ g))]
        turned = ql.mT @ g @ qr
        v = BETA2 * v + (1 - BETA2) * turned**2
        update = (ql.mT @ m @ qr) / schedule[step, 1].cpu() / ((v / schedule[step, 2].cpu()).sqrt() + 1e-8)
        w = w - 1e-2 * ql @ update @ qr.mT
        error = (parameters.flat[span].view(k, n).double().cpu() - w).norm() / w.norm()
        assert error < 1e-3, error
        q = group.left.basis[0].double().cpu()
        assert (q.mT @ q - torch.eye(k)).abs().max() < 1e-3
        off = (q.mT @ covariances[0] @ q).fill_diagonal_(0).norm() / covariances[0].norm()
    print(f"SOAP agrees; {off:.3f} of the covariance off the diagonal", flush=True)


def check_training():
    """Some steps lower the loss."""
    pictures = Pictures([IMAGES], 64, "cuda" if ON_GPU else "cpu")
    trainer = Trainer(SMALL, initial(SMALL), pictures, 4, 3, 0.99)
    trainer.warm_up()
    trainer.load_chunk(trainer.chunk(0), np.full(500, 3e-3))
    losses = []
    for _ in range(3):
        for step in range(6):
            trainer.one_step(False)
            trainer.step += 1
        trainer.soap.refresh()
        losses.append(trainer.figures(6)[0].mean())
    print("losses", losses, flush=True)
    assert losses[-1] < losses[0]


if __name__ == "__main__":
    torch.backends.cuda.matmul.allow_tf32 = False
    cases = [(Arch(16, 1, 16, 1, 24, 16, 16, 16, 16, 16), 2, 64), (Arch(32, 2, 48, 1, 40, 32, 16, 24, 16, 32), 2, 128)]
    if ON_GPU:
        cases = [(Arch(192, 6, 192, 3, 768, 128, 128, 96, 128, 128), 4, 256), (Arch(128, 3, 80, 2, 304, 128, 80, 64, 128, 80), 4, 256)]
    for case in cases:
        for hard in (False, True):
            *_, worst = check(*case, hard)
            assert max(worst.values()) < 0.08, worst
    check_crops()
    check_soap()
    check_training()
