"""Training pictures in the device's memory, at several scales, and the places
of the crops of a step: what `src/train/dataset.rs` draws."""
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

SCALES = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
FALSE_COLOURS = 0.04


def load(path):
    """`(height, width, 3)` bytes, or nothing where the file cannot be read."""
    try:
        return np.array(Image.open(path).convert("RGB"))
    except OSError as error:
        print(f"skipped: {path}: {error}")


def files(folders):
    """The pictures of some folders, by name."""
    return sorted(f for folder in folders for f in Path(folder).iterdir() if f.suffix.lower() in SUFFIXES)


def load_all(folders):
    with ProcessPoolExecutor() as pool:
        return [picture for picture in pool.map(load, files(folders), chunksize=16) if picture is not None]


class Pictures:
    """An atlas of bytes: every picture at every scale at which a crop fits."""

    def __init__(self, folders, side, device):
        loaded = [p for p in load_all(folders) if min(p.shape[:2]) >= side]
        if not loaded:
            raise SystemExit(f"{folders}: no readable picture of at least {side}x{side} pixels")
        self.side, self.device = side, device
        pieces, self.levels, self.areas, at = [], [], [], 0
        for picture in loaded:
            pixels = torch.from_numpy(picture).to(device)
            height, width = picture.shape[:2]
            self.areas.append(min(height * width, 1 << 20))
            levels = []
            planes = None
            for scale in SCALES:
                h, w = round(height * scale), round(width * scale)
                if min(h, w) < side:
                    break
                level = pixels
                if scale != 1:
                    if planes is None:
                        planes = pixels.permute(2, 0, 1)[None].float()
                    level = F.interpolate(planes, (h, w), mode="bilinear", antialias=True, align_corners=False)
                    level = level.round().clamp(0, 255)[0].permute(1, 2, 0).to(torch.uint8)
                pieces.append(level.flatten())
                levels.append((at, h, w))
                at += h * w * 3
            self.levels.append(levels)
        self.atlas = torch.cat(pieces)
        self.counts = np.array([len(levels) for levels in self.levels])
        table = np.zeros((len(loaded), len(SCALES), 3), np.int64)
        for row, levels in zip(table, self.levels):
            row[: len(levels)] = levels
        self.table = table
        self.cumulative = np.cumsum(self.areas)
        print(f"{len(loaded)} pictures of {sum(self.areas) / 1e6:.0f} Mpx, {len(self.atlas) / 1e6:.0f} MB with their scales")

    def draw(self, rng, steps, crops):
        """Places, colour mixes and positions on the quality axis of the crops of some steps."""
        shape = (steps, crops)
        picture = np.searchsorted(self.cumulative, rng.integers(0, self.cumulative[-1], shape), side="right")
        level = np.where(rng.random(shape) < 0.5, (rng.random(shape) * self.counts[picture]).astype(int), 0)
        at, height, width = np.moveaxis(self.table[picture, level], -1, 0)
        y = (rng.random(shape) * (height - self.side + 1)).astype(np.int64)
        x = (rng.random(shape) * (width - self.side + 1)).astype(np.int64)
        places = np.stack([at + (y * width + x) * 3, width * 3, rng.integers(0, 8, shape)], -1)
        mixes = np.broadcast_to(np.eye(3, dtype=np.float32), (*shape, 3, 3)).copy()
        false = rng.random(shape) < FALSE_COLOURS
        mixes[false] = rng.uniform(-1.5, 1.5, (false.sum(), 3, 3))
        # Stratified over the batch, so that every step sees low and high rates.
        positions = (np.arange(crops) + rng.random(shape)) / crops * 8
        return places, mixes.reshape(*shape, 9), positions
