"""The noise that stands for rounding: uniform in -0.5..0.5, from a seed and an
index (the finaliser of MurmurHash3, as in `src/train/quantize.rs`)."""
import torch

MASK = 0xFFFFFFFF


def noise(seed, count, device):
    """Numbers `0..count` of the stream `seed`."""
    h = (torch.arange(count, device=device) * 0x9E3779B9 & MASK) ^ seed
    h = h ^ h >> 16
    h = h * 0x85EBCA6B & MASK
    h = h ^ h >> 13
    h = h * 0xC2B2AE35 & MASK
    h = h ^ h >> 16
    return (h >> 8).float() * (1 / (1 << 24)) - 0.5
