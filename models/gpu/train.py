"""Trains a codec on a GPU, from a checkpoint of the Rust trainer to another.

    aecodec train --from models/ID.aem --data PICTURES --run runs/x --stop-after 0 ...
    python3 models/gpu/train.py --checkpoint runs/x/checkpoint.safetensors \\
        --data PICTURES --val HELD_OUT --out runs/y --seconds 400
    aecodec export --run runs/y --val HELD_OUT model.aem

The objective, the draws and the update rule are those of `aecodec train`; a
step is one CUDA graph, so that launching its few hundred kernels costs nothing.
The last part of the schedule sees truly rounded latents, with the encoder and
the quantisation steps held.
"""
import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import triton

from codec import (
    HALF, LAMBDA_WEIGHT, PIXEL_SCALE, Parameters, blend, lambdas, read_checkpoint, write_checkpoint,
)
from kernels import _crop
from network import Pass
from pictures import Pictures, load_all
from soap import BETA1, BETA2, Soap

# Steps whose crops and rates lie in the device's memory at a time.
CHUNK = 500
# Steps between two refreshes of the preconditioners' bases.
REFRESH = 60
# A chunk has diverged if half of the crops' losses are more than this many times the usual ones.
DIVERGED = 1.2
# A crop's loss is rarely a quarter of this.
LIMIT = 200.0
TABLE_RATE = 5.0
CLIP = 20.0
VAL_POSITIONS = [0.5, 2.0, 3.5, 5.0, 6.5]


class Trainer:
    """A model, its optimiser, and the graph of a step."""

    def __init__(self, arch, weights, pictures, crops, seed, ema):
        device = pictures.device
        self.pictures, self.crops, self.seed = pictures, crops, seed
        self.p = Parameters(arch, device)
        self.p.load(weights)
        self.soap = Soap(self.p, CLIP, ema)
        self.soap.rates.masked_fill_(self.p.of_parts(arch.tables()), TABLE_RATE)
        self.places = torch.zeros(CHUNK, crops, 3, dtype=torch.int64, device=device)
        self.mixes = torch.zeros(CHUNK, crops, 9, device=device)
        self.blends = torch.zeros(CHUNK, crops, 9, device=device)
        self.weights = torch.zeros(CHUNK, crops, 2, device=device)
        self.schedule = torch.zeros(CHUNK, 3, device=device)
        # Steps since the chunk's begin, and since the run's.
        self.counter = torch.zeros(1, dtype=torch.int32, device=device)
        self.total = torch.zeros(1, dtype=torch.int32, device=device)
        side = pictures.side
        self.pixels = torch.empty(crops * (side // 8) ** 2, 192, dtype=HALF, device=device)
        self.sums = torch.zeros(2, crops, device=device)
        self.norms = torch.zeros((), device=device)
        self.step = 0

    def chunk(self, index):
        """What the steps of a chunk draw."""
        rng = np.random.default_rng([self.seed, index])
        places, mixes, positions = self.pictures.draw(rng, CHUNK, self.crops)
        lam = lambdas(positions)
        pixels = self.pictures.side**2
        weights = np.stack(
            [
                lam**-LAMBDA_WEIGHT / (pixels * self.crops),
                lam ** (1 - LAMBDA_WEIGHT) * PIXEL_SCALE**2 / (3 * pixels * self.crops),
            ],
            -1,
        )
        blends = blend(positions.ravel()).reshape(CHUNK, self.crops, 9)
        return places, mixes, blends, weights

    def load_chunk(self, drawn, rates):
        """Sends a chunk and its learning rates to the device."""
        steps = self.step + 1 + np.arange(CHUNK)
        rates = np.concatenate([rates, np.zeros(CHUNK - len(rates))])
        schedule = np.stack([rates, 1 - BETA1**steps, 1 - BETA2**steps], 1)
        arrays = zip((self.places, self.mixes, self.blends, self.weights, self.schedule), (*drawn, schedule))
        for tensor, array in arrays:
            tensor.copy_(torch.from_numpy(array))
        self.counter.zero_()

    def gradient(self, hard):
        """The gradient of the step that the counter points at."""
        side, crops = self.pictures.side, self.crops
        blocks = triton.cdiv(side * side, 1024)
        _crop[(blocks, crops)](
            self.pictures.atlas, self.places, self.mixes, self.counter, self.pixels, crops, side,
            BLOCK=1024, num_warps=4,
        )
        blends = self.blends.index_select(0, self.counter)[0]
        weights = self.weights.index_select(0, self.counter)[0]
        self.p.grad.zero_()
        p = Pass(self.p, crops, side, self.pixels, blends @ self.p.table, weights, self.total, hard, LIMIT)
        p.forward()
        p.backward()
        torch.mm(blends.t(), p.danchored, out=self.p.table_grad)
        self.sums += torch.stack(p.figures())

    def one_step(self, hard):
        self.gradient(hard)
        torch.backends.cuda.matmul.allow_tf32 = True
        self.soap.apply(self.schedule, self.counter)
        torch.backends.cuda.matmul.allow_tf32 = False
        self.norms += self.soap.norm
        self.counter += 1
        self.total += 1

    def warm_up(self):
        """Compiles the kernels and sets the first bases."""
        self.load_chunk(self.chunk(1 << 30), np.zeros(0))
        for _ in range(4):
            self.gradient(False)
            for group in self.soap.groups:
                group.absorb(0.75)
            self.counter += 1
        self.soap.start()
        state = [t.clone() for t in (self.p.flat, self.p.half, self.soap.ema)]
        for hard in (False, True):
            self.one_step(hard)
        for kept, t in zip(state, (self.p.flat, self.p.half, self.soap.ema)):
            t.copy_(kept)
        for t in (self.soap.m, self.soap.v, self.sums, self.norms, self.total):
            t.zero_()

    def capture(self, hard):
        """The graph of a step."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            self.one_step(hard)
        return graph

    def state(self):
        """What a step changes."""
        tensors = [self.p.flat, self.p.half, self.soap.ema, self.soap.m, self.soap.v]
        for group in self.soap.groups:
            for side in group.sides:
                tensors += [side.covariance, side.basis]
        return tensors

    def figures(self, steps):
        """Means over the steps since the last call: the loss of each place in the
        batch, the gradient's norm, and bits and decibels for each quarter of the quality axis."""
        bpp, mse = (self.sums / steps).cpu().numpy()
        norm = float(self.norms) / steps
        self.sums.zero_()
        self.norms.zero_()
        lam = lambdas((np.arange(self.crops) + 0.5) / self.crops * 8)
        losses = bpp * lam**-LAMBDA_WEIGHT + mse * lam ** (1 - LAMBDA_WEIGHT)
        quarters = [
            (float(b.mean()), float(10 * np.log10(255**2 / m.mean())))
            for b, m in zip(np.array_split(bpp, 4), np.array_split(mse, 4))
        ]
        return losses, norm, quarters

    def save(self, path, seconds):
        write_checkpoint(
            path, self.p.arch, self.step, seconds, self.p.variables(self.p.flat), self.p.variables(self.soap.ema)
        )


class Validation:
    """Held-out pictures of one size, as `src/train/validate.rs` sees them."""

    def __init__(self, folder, arch, device, count=16):
        pictures = np.stack(load_all([folder])[:count]).astype(np.float32)
        n, side, _, _ = pictures.shape
        assert pictures.shape[1] == pictures.shape[2] and side % 64 == 0, pictures.shape
        rows = (pictures - 128) / PIXEL_SCALE
        rows = rows.reshape(n, side // 8, 8, side // 8, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 192)
        self.rows = torch.from_numpy(np.ascontiguousarray(rows)).to(device, HALF)
        self.n, self.side = n, side
        self.p = Parameters(arch, device)

    def run(self, flat):
        """The objective, and bits and decibels at each position, as text."""
        self.p.flat.copy_(flat)
        self.p.half.copy_(flat)
        counter = torch.zeros(1, dtype=torch.int32, device=flat.device)
        losses, text = [], ""
        for position in VAL_POSITIONS:
            mixed = torch.from_numpy(blend([position] * self.n)).to(flat.device)
            weights = torch.ones(self.n, 2, device=flat.device)
            p = Pass(self.p, self.n, self.side, self.rows, mixed @ self.p.table, weights, counter, True)
            p.forward()
            bpp, mse = (t.double().cpu().numpy() for t in p.figures())
            lam = float(lambdas(position))
            losses.append((bpp * lam**-LAMBDA_WEIGHT + mse * lam ** (1 - LAMBDA_WEIGHT)).mean())
            text += f"   {bpp.mean():.4f} bpp {(10 * np.log10(255**2 / mse)).mean():.3f} dB"
        return f"loss {np.mean(losses):.4f}{text}"


def rate_at(progress, hard_from, lr):
    """Warm-up over 1.5 %, constant to a quarter, a cosine to 2 %; then, with
    rounded latents, from 15 % towards nothing."""
    if progress >= hard_from:
        return lr * 0.15 * 0.5 * (1 + math.cos(math.pi * (progress - hard_from) / (1 - hard_from)))
    progress /= hard_from
    decay = max(0.0, (progress - 0.25) / 0.75)
    return lr * min(1.0, 0.02 + progress / 0.015) * (0.51 + 0.49 * math.cos(math.pi * decay))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path)
    parser.add_argument("--data", required=True, nargs="+", type=Path, help="folders of training pictures")
    parser.add_argument("--val", required=True, type=Path, help="folder of held-out pictures of one size")
    parser.add_argument("--out", required=True, type=Path, help="the run's folder")
    parser.add_argument("--seconds", required=True, type=float, help="from start to end of this process")
    parser.add_argument("--crops", type=int, default=16)
    parser.add_argument("--side", type=int, default=256, choices=[128, 256, 512])
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--ema", type=float, default=0.9995)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hard-from", type=float, default=0.88, help="share of the schedule before rounded latents: 1 for none, 0 for nothing else")
    args = parser.parse_args()
    begin = time.monotonic()
    torch.backends.cuda.matmul.allow_tf32 = False
    args.out.mkdir(parents=True, exist_ok=True)
    log = open(args.out / "log.jsonl", "a")

    def elapsed():
        return time.monotonic() - begin

    def say(text, **values):
        print(f"{elapsed():6.1f} s  {text}", flush=True)
        log.write(json.dumps({"seconds": elapsed(), **values}) + "\n")
        log.flush()

    arch, metadata, weights = read_checkpoint(args.checkpoint)
    validation = Validation(args.val, arch, "cuda")
    pictures = Pictures(args.data, args.side, "cuda")
    say("pictures loaded")
    trainer = Trainer(arch, weights, pictures, args.crops, args.seed, args.ema)
    say(f"validation {validation.run(trainer.soap.ema)}")
    trainer.warm_up()
    say("kernels ready")
    graph = trainer.capture(False)
    say("step captured")

    planned = None
    hard = False
    before = float(metadata["seconds"])
    drawn = trainer.chunk(0)
    index, saved = 0, elapsed()
    # The states after the last two good chunks, the usual loss, and what divergence left of the rate.
    good, usual, caution = [[tensor.clone() for tensor in trainer.state()]], None, 1.0
    while planned is None or trainer.step < planned:
        # Until a chunk has been timed the end is a guess that only the warm-up sees.
        guess = planned or 200_000
        steps = CHUNK if planned is None else min(CHUNK, planned - trainer.step)
        if not hard and trainer.step / guess >= args.hard_from:
            say(f"validation {validation.run(trainer.soap.ema)}")
            graph, hard = trainer.capture(True), True
            held = trainer.p.of_parts(["g_a", "h_a", "y_step_log2", "z_step_log2"])
            trainer.soap.rates.masked_fill_(held, 0.0)
            usual = None
        rates = [caution * rate_at((trainer.step + i) / guess, args.hard_from, args.lr) for i in range(steps)]
        trainer.load_chunk(drawn, np.array(rates))
        start = time.monotonic()
        for i in range(steps):
            graph.replay()
            at = trainer.step + i + 1
            if at % REFRESH == 0 or (at < 100 and at % 5 == 0):
                trainer.soap.refresh()
        index += 1
        drawn = trainer.chunk(index)
        losses, norm, quarters = trainer.figures(steps)
        loss = float(losses.mean())
        each = (time.monotonic() - start) / steps
        trainer.step += steps
        # The end is set again and again, as the steps' duration becomes known.
        remaining = args.seconds - elapsed() - 3
        planned = max(trainer.step, trainer.step + int(remaining / each))
        say(
            f"step {trainer.step} of {planned}  loss {loss:.4f}  |g| {norm:.3f}  lr {rates[-1]:.2e}  "
            f"{1 / each:.0f} steps/s  " + "  ".join(f"{b:.3f} {d:.2f}" for b, d in quarters),
            step=trainer.step, loss=loss, grad_norm=norm, lr=rates[-1], steps_per_second=1 / each, quarters=quarters,
        )
        # By the median, since an outlier among the crops is no divergence.
        growth = np.median(losses / (losses if usual is None else usual))
        if not growth <= DIVERGED:
            caution *= 0.7
            say(f"diverged: the weights of two chunks ago again, at {caution:.2f} of the rate")
            for tensor, kept in zip(trainer.state(), good[0]):
                tensor.copy_(kept)
            good = good[:1]
            continue
        good = [*good[-1:], [tensor.clone() for tensor in trainer.state()]]
        usual = losses if usual is None else 0.8 * usual + 0.2 * np.minimum(losses, DIVERGED * usual)
        if elapsed() - saved > 60:
            trainer.save(args.out / "checkpoint.safetensors", before + elapsed())
            saved = elapsed()
            say(f"validation {validation.run(trainer.soap.ema)}")
    trainer.save(args.out / "checkpoint.safetensors", before + elapsed())
    say(f"validation {validation.run(trainer.soap.ema)}")


if __name__ == "__main__":
    main()
