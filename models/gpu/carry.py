"""Makes what a run takes to a GPU machine small, and ready before the machine is.

    python3 models/gpu/carry.py checkpoint runs/x/checkpoint.safetensors carry/start.safetensors
    python3 models/gpu/carry.py pictures PICTURES carry/pictures --megabytes 60
    AECODEC_KERNELS=carry/kernels python3 models/gpu/carry.py kernels carry/start.safetensors --val HELD_OUT

and there, with the same versions of Python, PyTorch and Triton:

    AECODEC_KERNELS=carry/kernels python3 models/gpu/train.py \\
        --checkpoint carry/start.safetensors --data carry/pictures ...

Of a checkpoint the averaged weights are kept, a quarter of it. Pictures are drawn at
random; another `--seed` may draw some of them again. Kernels are compiled for an H100 or
H200 without a device, which saves half a minute of each start there.
"""
import argparse
from pathlib import Path

import numpy as np

from codec import read_checkpoint, write_tensors
from pictures import files


def checkpoint(args):
    """Copies the averaged weights."""
    _, metadata, weights = read_checkpoint(args.source)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(args.out, metadata, {f"ema/{name}": array for name, array in weights.items()})
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


def pictures(args):
    """Copies pictures drawn at random, as many as fit."""
    found = files([args.source])
    args.out.mkdir(parents=True, exist_ok=True)
    left, count = args.megabytes * 1e6, 0
    for i in np.random.default_rng(args.seed).permutation(len(found)):
        size = found[i].stat().st_size
        if size <= left:
            (args.out / found[i].name).write_bytes(found[i].read_bytes())
            left, count = left - size, count + 1
    print(f"{args.out}: {count} of {len(found)} pictures, {args.megabytes - left / 1e6:.1f} MB")


class Absent:
    """What Triton asks of a driver to compile for a device that is not there."""

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, _):
        return 0


def kernels(args):
    """Goes through a step and a validation on tensors of the sizes of a run, where
    every launch only compiles."""
    import torch
    import triton

    from train import Trainer, Validation

    triton.runtime.driver.set_active(Absent())
    run = triton.runtime.JITFunction.run
    triton.runtime.JITFunction.run = lambda self, *a, **k: run(self, *a, **(k | {"warmup": True}))

    class Nothing:
        """Pictures of which only the side is looked at."""

        side, device = args.side, "cpu"
        atlas = torch.zeros(1 << 16, dtype=torch.uint8)

    arch, _, weights = read_checkpoint(args.source)
    trainer = Trainer(arch, weights, Nothing, args.crops, 1, 0.999)
    for hard in (False, True):
        trainer.gradient(hard)
    trainer.soap.apply(trainer.schedule, trainer.counter)
    Validation(args.val, arch, "cpu").run(trainer.soap.ema)
    print("compiled")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for work in (checkpoint, pictures, kernels):
        command = commands.add_parser(work.__name__, help=work.__doc__)
        command.set_defaults(work=work)
        command.add_argument("source", type=Path)
        if work is not kernels:
            command.add_argument("out", type=Path)
        if work is pictures:
            command.add_argument("--megabytes", type=float, required=True)
            command.add_argument("--seed", type=int, default=1)
        if work is kernels:
            command.add_argument("--crops", type=int, default=24)
            command.add_argument("--side", type=int, default=256, choices=[128, 256, 512])
            command.add_argument("--val", type=Path, required=True, help="the held-out pictures of the run")
    args = parser.parse_args()
    args.work(args)


if __name__ == "__main__":
    main()
