"""The codec's networks, their parameters, and checkpoints of the Rust trainer.

The same shapes as `src/model/arch.rs` and the same flat order as
`src/train/net.rs`, so that a checkpoint goes from one trainer to the other.
"""
import json
import os
import struct
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch

ANCHORS = 9
LAMBDA_MIN, LAMBDA_RATIO = 0.00018, 2.756
LAMBDA_WEIGHT = 0.4
PIXEL_SCALE = 64.0
# What activations and the copy of the weights that products read are kept in;
# f32 where the arithmetic is to be compared with a reference.
HALF = torch.float32 if os.environ.get("AECODEC_FULL") else torch.bfloat16
PARTS = ["g_a", "h_a", "h_s", "prior", "context", "g_s"]
TABLES = ["y_step_log2", "z_step_log2", "z_scale_log2"]


@dataclass(frozen=True)
class Arch:
    """The numbers that the networks follow from."""

    analysis_channels: int
    analysis_blocks: int
    synthesis_channels: int
    synthesis_blocks: int
    latents: int
    hyper_analysis_channels: int
    hyper_synthesis_channels: int
    hyper_latents: int
    analysis_inner: int
    synthesis_inner: int

    def parts(self):
        """The layers with parameters of each part: `(inputs, outputs)` of a
        pointwise one, the channels of a depthwise one."""
        a, s, m = self.analysis_channels, self.synthesis_channels, self.latents
        e, h, n = self.hyper_analysis_channels, self.hyper_synthesis_channels, self.hyper_latents

        def block(c, inner):
            return [(c, inner), inner, (inner, c), (c, 2 * inner), (inner, c)]

        return {
            "g_a": [(192, a)] + block(a, self.analysis_inner) * self.analysis_blocks + [(4 * a, m)],
            "h_a": [(m, e), (4 * e, e)] + block(e, e) + [(4 * e, n)],
            "h_s": [(n, 4 * h)] + block(h, h) + [(h, 4 * h)] + block(h, h),
            "prior": [(h, 2 * m)],
            "context": [(h + m, h)] + block(h, h) + [(h, 2 * m)],
            "g_s": [(m, 4 * s)] + block(s, self.synthesis_inner) * self.synthesis_blocks + [(s, 192)],
        }

    def tables(self):
        """The width of each table of log2 steps or scales."""
        return dict(zip(TABLES, [self.latents, self.hyper_latents, self.hyper_latents]))


class Pointwise:
    """Views of one 1x1 layer: weights, their bf16 copy and gradient, and where
    its biases stand in the anchored table."""

    def __init__(self, inputs, outputs):
        self.inputs, self.outputs = inputs, outputs


class Depthwise:
    """Views of one 3x3 depthwise layer."""

    def __init__(self, channels):
        self.channels = channels


class Parameters:
    """All numbers of a model in one flat vector: weight matrices of one shape
    side by side, so that an optimiser can treat them as one batch; then the
    depthwise layers; then a table of `ANCHORS` rows with every bias and step,
    which a crop's quality interpolates."""

    def __init__(self, arch, device):
        self.arch = arch
        self.sites = {
            part: [Depthwise(s) if isinstance(s, int) else Pointwise(*s) for s in specs]
            for part, specs in arch.parts().items()
        }
        every = [site for sites in self.sites.values() for site in sites]
        shapes = {}
        for site in every:
            if isinstance(site, Pointwise):
                shapes.setdefault((site.inputs, site.outputs), []).append(site)
        size, spans, self.groups = 0, [], []
        for (k, n), sites in shapes.items():
            self.groups.append((size, len(sites), k, n))
            for site in sites:
                spans.append((site, "w", size, (k, n)))
                size += k * n
        self.matrices = size
        for site in every:
            if isinstance(site, Depthwise):
                spans += [(site, "w", size, (9, site.channels)), (site, "b", size + 9 * site.channels, (site.channels,))]
                size += 10 * site.channels
        self.width, self.columns = 0, {}
        for name, width in arch.tables().items():
            self.columns[name] = self.width
            self.width += width
        self.steps_width = self.width
        for site in every:
            if isinstance(site, Pointwise):
                site.column = self.width
                self.width += site.outputs
        self.table_at = size
        size += ANCHORS * self.width
        self.flat = torch.zeros(size, device=device)
        self.grad = torch.zeros(size, device=device)
        self.half = torch.zeros(size, device=device, dtype=HALF)
        for site, kind, at, shape in spans:
            end = at + int(np.prod(shape))
            setattr(site, kind, self.flat[at:end].view(shape))
            setattr(site, kind + "_half", self.half[at:end].view(shape))
            setattr(site, kind + "_grad", self.grad[at:end].view(shape))
            setattr(site, kind + "_at", at)
        self.table = self.flat[self.table_at :].view(ANCHORS, self.width)
        self.table_grad = self.grad[self.table_at :].view(ANCHORS, self.width)

    def order(self):
        """For each variable of a checkpoint, the positions in `flat` of its
        numbers in the checkpoint's order."""
        table = self.table_at + np.arange(ANCHORS * self.width).reshape(ANCHORS, self.width)
        out = {}
        for part, sites in self.sites.items():
            pieces = []
            for site in sites:
                if isinstance(site, Pointwise):
                    pieces.append(site.w_at + np.arange(site.inputs * site.outputs))
                    pieces.append(table[:, site.column : site.column + site.outputs].ravel())
                else:
                    pieces.append(site.w_at + np.arange(10 * site.channels))
            out[part] = np.concatenate(pieces)
        for name, width in self.arch.tables().items():
            at = self.columns[name]
            out[name] = table[:, at : at + width].ravel()
        return out

    def of_parts(self, names):
        """A mask over `flat` of the numbers of some variables."""
        mask = np.zeros(len(self.flat), bool)
        for name, at in self.order().items():
            if name in names:
                mask[at] = True
        return torch.from_numpy(mask).to(self.flat.device)

    def load(self, variables):
        """Takes a checkpoint's variables."""
        flat = np.empty(len(self.flat), np.float32)
        for name, at in self.order().items():
            flat[at] = variables[name]
        self.flat.copy_(torch.from_numpy(flat))
        self.half.copy_(self.flat)

    def variables(self, flat):
        """A flat vector in the order of `flat` as a checkpoint's variables."""
        flat = flat.cpu().numpy()
        return {name: flat[at] for name, at in self.order().items()}


def lambdas(positions):
    """Lambda at positions on the quality axis, in anchors."""
    return LAMBDA_MIN * LAMBDA_RATIO ** np.asarray(positions, np.float64)


def blend(positions):
    """The weights `(crops, ANCHORS)` of the two anchors around each position."""
    positions = np.asarray(positions, np.float64)
    anchor = np.minimum(positions.astype(int), ANCHORS - 2)
    out = np.zeros((len(positions), ANCHORS), np.float32)
    rows = np.arange(len(positions))
    out[rows, anchor] = 1 - (positions - anchor)
    out[rows, anchor + 1] = positions - anchor
    return out


def read_checkpoint(path):
    """`(arch, metadata, weights)` of a run: the averaged weights."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    weights = {}
    for name, entry in header.items():
        if name.startswith("ema/"):
            begin, end = entry["data_offsets"]
            weights[name[4:]] = np.frombuffer(data[8 + length + begin : 8 + length + end], np.float32)
    return Arch(*map(int, metadata["arch"].split())), metadata, weights


def write_checkpoint(path, arch, step, seconds, weights, averages):
    """A checkpoint that the Rust trainer and exporter read. The optimiser's
    memory is left empty: whoever goes on from it starts that anew."""
    arrays = {}
    for name in weights:
        zeros = np.zeros_like(weights[name])
        arrays |= {f"weights/{name}": weights[name], f"ema/{name}": averages[name], f"m/{name}": zeros, f"v/{name}": zeros}
    write_tensors(path, {"arch": " ".join(map(str, astuple(arch))), "step": str(step), "seconds": str(seconds)}, arrays)


def write_tensors(path, metadata, arrays):
    """A safetensors file of flat f32 arrays."""
    header, at = {"__metadata__": metadata}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": [array.size], "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    temporary = Path(str(path) + ".tmp")
    with open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays.values():
            file.write(array.tobytes())
    temporary.rename(path)
