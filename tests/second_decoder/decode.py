"""A second decoder of .aec files, written from docs/format.md alone.

    python3 decode.py MODEL.aem FILE.aec...

prints `hash  file` for each file: the SHA-256 of width, height (4 bytes each),
channels (1 byte) and pixels, as in testdata/golden/pixels.sha256. The checksum
of each file covers all of its symbols, so these are the same latents too. It is
slow and clear; it needs NumPy.
"""

import hashlib
import json
import os
import struct
import sys
import zlib

import numpy as np


class Damaged(Exception):
    pass


def check(holds, what):
    if not holds:
        raise Damaged(what)


# --- 1 to 3: header, checksum, chunks -----------------------------------------


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        check(self.at + count <= len(self.data), f"{count} bytes expected")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        value = 0
        for group in range(5):
            byte = self.byte()
            check(group == 0 or byte != 0, "a number not in its shortest form")
            value |= (byte & 0x7F) << (7 * group)
            if byte < 0x80:
                check(value < 2**32, "a number that is too large")
                return value
        raise Damaged("a number that is too large")


def read_container(data):
    reader = Reader(data)
    check(reader.take(4) == b"\xaeAEC", "not an .aec file")
    check(reader.byte() == 1, "another version")
    flags = reader.byte()
    check(flags & 3 < 2 and flags < 64, f"flags {flags:#010b}")
    file = {"grey": flags & 3 == 1, "bits": 16 if flags & 4 else 8, "has_alpha": flags & 8 != 0}
    file["filtered"], file["lanes"] = flags & 16 != 0, 2 if flags & 32 else 1
    file["width"], file["height"] = reader.varint(), reader.varint()
    check(file["width"] and file["height"], "a picture without pixels")
    file["quality"], file["model"] = reader.byte(), reader.take(4)
    header = data[: reader.at]
    file["checksum"] = struct.unpack("<I", reader.take(4))[0]
    file["crc"] = zlib.crc32(header)
    chunks, metadata = {}, b""
    while reader.at < len(data):
        start, kind = reader.at, reader.byte()
        payload = reader.take(reader.varint())
        check(kind > 8 or kind not in chunks, f"two chunks of type {kind}")
        chunks[kind] = payload
        if kind not in (1, 2, 8):
            metadata += data[start : reader.at]
    check(1 in chunks, "no latents")
    check((2 in chunks) == file["has_alpha"], "alpha and its flag")
    check(8 in chunks or not any(kind in chunks for kind in range(3, 8)), "metadata without a check")
    if 8 in chunks:
        check(chunks[8] == struct.pack("<I", zlib.crc32(metadata)), "the check of metadata")
    file["chunks"] = chunks
    return file


def split_streams(payload, count):
    if count == 1:
        return [payload]
    reader = Reader(payload)
    lengths = [reader.varint() for _ in range(count)]
    streams = [reader.take(length) for length in lengths]
    check(reader.at == len(payload), "bytes after the last stream")
    return streams


# --- 4: models -----------------------------------------------------------------


def coarse_and_fine():
    table = lambda denominator: [int(2**15 * 2 ** (i / denominator) + 0.5) for i in range(32)]
    return table(32), table(1024)


COARSE, FINE = coarse_and_fine()


class Step:
    def __init__(self, log2):
        log2 = min(max(log2, -8192), 14336)
        rest = log2 & 1023
        self.mantissa = min((COARSE[rest >> 5] * FINE[rest & 31] + 2**14) >> 15, 65535)
        self.shift = 15 - (log2 >> 10)

    def dequantise(self, k):
        return (k * self.mantissa + (1 << (self.shift - 1))) >> self.shift

    def dequantise_halves(self, n):
        return (n * self.mantissa + (1 << self.shift)) >> (self.shift + 1)


class Model:
    def __init__(self, path):
        with open(path, "rb") as stream:
            data = stream.read()
        self.id = hashlib.sha256(data).digest()[:4]
        size = struct.unpack("<Q", data[:8])[0]
        self.index, self.data = json.loads(data[8 : 8 + size]), data[8 + size :]
        words = self.index["__metadata__"]["aecodec"].split(";")
        arch = dict(word.split("=") for word in words)
        base = os.path.join(os.path.dirname(path), arch.get("base", "") + ".aem")
        self.base = Model(base) if "base" in arch else None
        self.c, self.m = int(arch["channels"]), int(arch["latents"])
        self.h, self.n = int(arch["hyper_channels"]), int(arch["hyper_latents"])
        self.blocks = int(arch["synthesis_blocks"])
        parts = ["h_s", "prior", "context", "g_s"]
        self.ranges = {part: [int(first) for first in arch[part].split(",")] for part in parts if part in arch}
        self.low_bits, self.first = self.tensor("tables.low_bits"), self.tensor("tables.first")
        self.quantisers = len(self.first) // 96
        # What quantiser 1 and an odd symbol do to the state.
        self.trellis = (143, 13) if arch.get("states") == "256" else (18, 4)
        self.z_weights = self.tensor("z_prediction") if self.has("z_prediction") else None
        self.starts = []
        frequencies, at = self.tensor("tables.frequencies"), 0
        for entries in self.tensor("tables.entries"):
            widths = [int(width) for width in frequencies[at : at + entries]]
            self.starts.append(np.concatenate([[0], np.cumsum(widths)]))
            at += entries

    def has(self, name):
        return name in self.index or (self.base is not None and self.base.has(name))

    def tensor(self, name):
        if name not in self.index and self.base is not None:
            return self.base.tensor(name)
        entry = self.index[name]
        kind = {"I16": "<i2", "I32": "<i4", "U8": "u1", "U16": "<u2"}[entry["dtype"]]
        start, end = entry["data_offsets"]
        return np.frombuffer(self.data[start:end], kind).reshape(entry["shape"]).astype(np.int64)

    def lerp(self, name, quality):
        v, a, f = self.tensor(name), quality // 32, quality % 32
        return (v[a] * (32 - f) + v[a + 1] * f + 16) >> 5


def sat16(v):
    return np.clip(v, -32768, 32767)


def wrap32(v):
    return (v + 2**31) % 2**32 - 2**31


def requant(acc, bias, shift):
    half = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
    return sat16(wrap32(acc + bias + half) >> shift)


class Network:
    """One part of a model at one quality. Tensors are height x width x channels."""

    def __init__(self, model, part, quality):
        firsts = [first for first in model.ranges.get(part, []) if first <= quality]
        self.model, self.quality = model, quality
        self.part = f"{part}@{firsts[-1]}" if firsts else part

    def name(self, path, tensor):
        return f"{self.part}.{path}.{tensor}"

    def pointwise(self, path, x):
        weights = self.model.tensor(self.name(path, "weight"))
        # Exact: sums stay far below 2^53.
        acc = (x.astype(np.float64) @ weights.T.astype(np.float64)).astype(np.int64)
        bias = self.model.lerp(self.name(path, "bias"), self.quality)
        return requant(acc, bias, self.model.tensor(self.name(path, "shift")))

    def depthwise(self, path, x):
        weights = self.model.tensor(self.name(path, "weight"))
        height, width, _ = x.shape
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        acc = sum(
            weights[3 * dy + dx] * padded[dy : dy + height, dx : dx + width]
            for dy in range(3)
            for dx in range(3)
        )
        bias, shift = self.model.tensor(self.name(path, "bias")), self.model.tensor(self.name(path, "shift"))
        return requant(acc, bias, shift)

    def gate(self, path, x):
        limit, shift = self.model.tensor(self.name(path, "gate"))
        c = x.shape[2] // 2
        product = x[:, :, :c] * np.clip(x[:, :, c:], -limit, limit)
        return sat16((product + (1 << (shift - 1))) >> shift)

    def block(self, first, x):
        """Two residuals, the layers `first` and `first + 1`."""
        y = self.pointwise(f"{first}.0", x)
        y = np.maximum(y, y >> 3)
        y = self.pointwise(f"{first}.3", self.depthwise(f"{first}.2", y))
        x = sat16(x + y)
        y = self.gate(f"{first + 1}.1", self.pointwise(f"{first + 1}.0", x))
        return sat16(x + self.pointwise(f"{first + 1}.2", y))


def shuffle(x):
    height, width, c = x.shape
    x = x.reshape(height, width, 2, 2, c // 4).transpose(0, 2, 1, 3, 4)
    return x.reshape(2 * height, 2 * width, c // 4)


def hyper_synthesis(model, quality, z_hat):
    net = Network(model, "h_s", quality)
    x = net.block(2, shuffle(net.pointwise("0", z_hat)))
    return net.block(6, shuffle(net.pointwise("4", x)))


def prior(model, quality, features):
    return Network(model, "prior", quality).pointwise("0", features)


def context(model, quality, features, y_hat):
    net = Network(model, "context", quality)
    x = net.pointwise("0", np.concatenate([features, y_hat], axis=2))
    return net.pointwise("3", net.block(1, x))


def synthesis(model, quality, y_hat):
    net = Network(model, "g_s", quality)
    x = shuffle(net.pointwise("0", y_hat))
    for block in range(model.blocks):
        x = net.block(2 + 2 * block, x)
    return net.pointwise(str(2 + 2 * model.blocks), x)


# --- 6: streams ------------------------------------------------------------------


class Lane:
    def __init__(self, data):
        data = data + b"\0" * (len(data) % 2)
        self.state, self.words = 0, list(struct.unpack(f"<{len(data) // 2}H", data))
        check(not self.words or self.words[-1] != 0, "the last word is zero")
        for _ in range(2):
            if self.words:
                self.state = self.state << 16 | self.words.pop()

    def decode(self, starts):
        q = self.state & 0xFFFF
        entry = int(np.searchsorted(starts, q, side="right")) - 1
        start, end = int(starts[entry]), int(starts[entry + 1])
        self.state = (self.state >> 16) * (end - start) + (q - start)
        if self.state < 2**16 and self.words:
            self.state = self.state << 16 | self.words.pop()
        return entry

    def raw(self, bits):
        if bits == 0:
            return 0
        return self.decode(np.arange(2**bits + 1) << (16 - bits))


class Streams:
    """Those of all lanes of a tile."""

    def __init__(self, model, lanes):
        self.model, self.lanes, self.symbols = model, [Lane(data) for data in lanes], bytearray()

    def symbol(self, bin, lane=0):
        lane = self.lanes[lane]
        starts, first = self.model.starts[bin], int(self.model.first[bin])
        n = len(starts) - 1
        entry = lane.decode(starts)
        cell = first + entry
        if entry == n - 1:
            b = 0
            while lane.raw(1):
                b += 1
                check(b <= 16, "an escape that is too long")
            u = 2**b + lane.raw(b) - 1
            cell = first + n - 1 + u // 2 if u % 2 == 0 else first - 1 - (u - 1) // 2
        low_bits = int(self.model.low_bits[bin])
        k = (cell << low_bits) + lane.raw(low_bits)
        check(-32768 <= k <= 32767, "a symbol out of range")
        self.symbols += struct.pack("<h", k)
        return k

    def finish(self):
        for lane in self.lanes:
            check(not lane.words and lane.state == 0, "the stream does not end with its symbols")


# --- 5: the latents of a tile ------------------------------------------------------


def bin_of(log2):
    return np.clip((log2 + 4096 + 64) >> 7, 0, 95)


# The pixels of each pair: (rows, columns) from the middle to one, the other lies opposite.
PAIRS = [(0, 1), (0, 2), (1, -2), (1, -1), (1, 0), (1, 1), (1, 2), (2, -1), (2, 0), (2, 1)]


def read_filter(streams, has_limits):
    """Fraction bits and weights, of each colour those of 3 x 11 taps and the constant; then
    log2 of a limit, if the model has none, and the weights of 10 pairs within a narrow and a
    wide limit."""
    parts = streams.symbol(40)
    if parts == 0:
        return None
    check(1 <= parts <= 13, "parts of a filter")
    linear = read_linear(streams, (parts - 1) % 6 + 6) if parts < 13 else None
    return linear, read_clipped(streams, has_limits) if parts > 6 else None


def read_linear(streams, shift):
    weights = np.zeros((3, 34), np.int64)
    for colour in range(3):
        for source in range(3):
            for pair in range(11):
                near = pair in (0, 4)
                bin = 26 if pair == 10 else (49 if source == colour else 43) + (10 if near else 0)
                weights[colour, 11 * source + pair] = streams.symbol(bin)
        weights[colour, 33] = streams.symbol(48)
    check(np.abs(weights).max() <= 511, "a weight of a filter")
    return shift, weights


def read_clipped(streams, has_limits):
    limit = None if has_limits else streams.symbol(40) + 2
    check(has_limits or 2 <= limit <= 11, "the limit of a filter")
    weights = np.array([streams.symbol(43) for _ in range(20)]).reshape(10, 2)
    check(np.abs(weights).max() <= 127, "a clipped weight of a filter")
    return limit, weights


def read_tile(model, quality, height, width, lanes, filtered):
    streams = Streams(model, lanes)
    filter = read_filter(streams, model.has("class_filters")) if filtered else None
    z_bins = bin_of(model.lerp("z_scale_log2", quality))
    z_steps = [Step(int(v)) for v in model.lerp("z_step_log2", quality)]
    z_hat = np.zeros((-(-height // 4), -(-width // 4), model.n), np.int64)
    for y, x in np.ndindex(z_hat.shape[:2]):
        means = np.zeros(model.n, np.int64)
        if model.z_weights is not None and (x or y):
            left, above = z_hat[y, x - 1] if x else z_hat[y - 1, x], z_hat[y - 1, x] if y else z_hat[y, x - 1]
            sums = model.z_weights[:, 0] * left + model.z_weights[:, 1] * above
            means = np.clip((sums + 2**11) >> 12, -32768, 32767)
        for c in range(model.n):
            k = streams.symbol(z_bins[c]) if z_bins[c] else 0
            z_hat[y, x, c] = min(max(int(means[c]) + z_steps[c].dequantise(k), -32768), 32767)
    features = hyper_synthesis(model, quality, z_hat)[:height, :width]

    step_log2 = model.lerp("y_step_log2", quality)
    steps = [Step(int(v)) for v in step_log2]
    y_hat = np.zeros((height, width, model.m), np.int64)
    rows, columns, channels = np.indices(y_hat.shape)
    for half in range(2):
        first = half == 0
        p = prior(model, quality, features) if first else context(model, quality, features, y_hat)
        means, bins = p[:, :, : model.m], bin_of(p[:, :, model.m :] - step_log2)
        mine = (rows + columns + channels) % 2 == half
        values = np.where(mine, means, 0)
        states, row, number = [0] * len(lanes), 0, -1
        for y, x, c in zip(*np.nonzero(mine & (bins > 0))):
            # The latents of each row take turns in the lanes.
            row, number = y, number + 1 if y == row else 0
            lane = number % len(lanes)
            state = states[lane]
            quantiser = state & 1
            k = streams.symbol(bins[y, x, c] + 96 * quantiser, lane)
            n = 2 * k - quantiser * ((k > 0) - (k < 0))
            if model.quantisers == 2:
                of_quantiser, of_odd = model.trellis
                states[lane] = (state >> 1) ^ (quantiser * of_quantiser) ^ ((k & 1) * of_odd)
            values[y, x, c] = min(max(int(means[y, x, c]) + steps[c].dequantise_halves(n), -32768), 32767)
        y_hat = np.where(mine, values, y_hat)
    streams.finish()
    return y_hat, bytes(streams.symbols), filter


def read_latents(model, quality, width, height, payload, lanes, filtered):
    lh, lw = -(-height // 16), -(-width // 16)
    tiles = [(y, x) for y in range(0, lh, 64) for x in range(0, lw, 64)]
    y_hat, symbols, filters = np.zeros((lh, lw, model.m), np.int64), b"", []
    streams = split_streams(payload, lanes * len(tiles))
    for index, (y, x) in enumerate(tiles):
        of_tile = streams[lanes * index : lanes * (index + 1)]
        th, tw = min(64, lh - y), min(64, lw - x)
        tile = slice(y, y + th), slice(x, x + tw)
        y_hat[tile], more, filter = read_tile(model, quality, th, tw, of_tile, filtered)
        symbols += more
        filters.append((tile, filter))
    return y_hat, symbols, filters


# --- 7: pixels, alpha ----------------------------------------------------------------


def classes(v, unit):
    """The class of each pixel, and whether its filter is transposed and mirrored."""
    luma = (v[:, :, 0] >> 2) + (v[:, :, 1] >> 1) + (v[:, :, 2] >> 2)
    rows, columns = luma.shape
    padded = np.pad(luma, 1, "edge")
    at = lambda dy, dx: padded[1 + dy : 1 + dy + rows, 1 + dx : 1 + dx + columns]
    sums = []
    for dy, dx in [(0, 1), (1, 0), (1, 1), (-1, 1)]:
        second = np.abs(2 * luma - at(dy, dx) - at(-dy, -dx))
        cells = np.pad(second.reshape(rows // 2, 2, columns // 2, 2).sum(axis=(1, 3)), 1, "edge")
        blocks = sum(
            cells[y : y + rows // 2 : 2, x : x + columns // 2 : 2] for y in range(4) for x in range(4)
        )
        sums.append(blocks.repeat(4, axis=0).repeat(4, axis=1))
    across, down, falling, rising = sums
    straight = np.maximum(across, down), np.minimum(across, down)
    diagonal = np.maximum(falling, rising), np.minimum(falling, rising)
    is_straight = straight[0] * diagonal[1] > diagonal[0] * straight[1]
    most, least = (np.where(is_straight, s, d) for s, d in zip(straight, diagonal))
    strength = (most >= 2 * least) * 1 + (most >= 4 * least)
    direction = np.where(5 * most <= 7 * least, 0, 2 * strength + np.where(is_straight, 1, 2))
    activity = sum((across + down >= bound * unit) * 1 for bound in (13, 32, 64, 128))
    return 5 * direction + activity, down > across, rising > falling


def correct_clipped(v, limits, weights, turned_at):
    """What near pixels within limits add, by the weights of each pixel."""
    rows, columns, _ = v.shape
    padded = np.pad(v, ((2, 2), (2, 2), (0, 0)), "edge")
    transposed, mirrored = turned_at
    acc = np.zeros_like(v)
    for pair, (dy, dx) in enumerate(PAIRS):
        for turned in range(4):
            mine = (transposed == (turned & 1 != 0)) & (mirrored == (turned & 2 != 0))
            a, b = (dx, dy) if turned & 1 else (dy, dx)
            b = -b if turned & 2 else b
            at = lambda dy, dx: padded[2 + dy : 2 + dy + rows, 2 + dx : 2 + dx + columns] - v
            for i, t in enumerate(limits):
                near = np.clip(at(a, b), -t, t) + np.clip(at(-a, -b), -t, t)
                acc += (weights[..., 2 * pair + i] * mine)[:, :, None] * near
    return (acc + 128) >> 8


def correct(model, quality, v, filters):
    """Each tile's pixels with the model's corrections and through its filter."""
    v = np.clip(v, -8192, 8191)
    rows, columns, _ = v.shape
    unit = int(model.lerp("class_units", quality)) if model.has("class_units") else None
    straight = np.zeros((rows, columns), bool)
    turned_at, weights = (straight, straight), np.zeros((rows, columns, 20), np.int64)
    if unit is not None:
        class_of, *turned_at = classes(v, unit)
        weights = model.lerp("class_filters", quality)[class_of]
    padded = np.pad(v, ((2, 2), (2, 2), (0, 0)), "edge")
    at = lambda dy, dx: padded[2 + dy : 2 + dy + rows, 2 + dx : 2 + dx + columns]
    pairs = [at(dy, dx) + at(-dy, -dx) - 2 * v for dy, dx in PAIRS] + [2 * v]
    taps = [pair[:, :, source] for source in range(3) for pair in pairs] + [np.full((rows, columns), 512)]
    out = v.copy()
    for tile, filter in filters:
        if filter:
            y, x = (slice(16 * side.start, 16 * side.stop) for side in tile)
            linear, _ = filter
            add = np.zeros_like(v[y, x])
            if linear:
                shift, of_taps = linear
                for colour in range(3):
                    acc = sum(w * tap[y, x] for w, tap in zip(of_taps[colour], taps))
                    add[:, :, colour] += (acc + (1 << (shift - 1))) >> shift
            out[y, x] = v[y, x] + add
        limit, own = filter[1] if filter and filter[1] else (0, np.zeros((10, 2), np.int64))
        limits = (1 << (limit or 0), 4 << (limit or 0)) if unit is None else (unit, min(8 * unit, 8192))
        y, x = (slice(16 * side.start, 16 * side.stop) for side in tile)
        all_of_tile = weights + 4 * own.reshape(20)
        out[y, x] += correct_clipped(v, limits, all_of_tile, turned_at)[y, x]
    return sat16(out)


def pixels(model, quality, latents, width, height, grey, bits):
    y_hat, _, filters = latents
    v = synthesis(model, quality, y_hat)
    rows, columns, _ = v.shape
    v = v.reshape(rows, columns, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(8 * rows, 8 * columns, 3)
    if any(filter for _, filter in filters) or model.has("class_units"):
        v = correct(model, quality, v, filters)
    v = v[:height, :width]
    if bits == 8:
        p = np.clip(((v + 32) >> 6) + 128, 0, 255)
    else:
        p = np.clip(((v + 8192) * 257 + 32) >> 6, 0, 65535)
    return (p.sum(axis=2, keepdims=True) + 1) // 3 if grey else p


def unfilter(data, height, width, bits):
    """PNG's rows without their filters: bytes of packed samples."""
    length, step = -(-width * bits // 8), max(bits // 8, 1)
    check(len(data) == height * (length + 1), "too few or too many rows of alpha")
    above, rows = bytearray(length), []
    for y in range(height):
        kind, row = data[y * (length + 1)], bytearray(data[y * (length + 1) + 1 : (y + 1) * (length + 1)])
        check(kind <= 4, f"filter {kind}")
        for i in range(length):
            a, b = (row[i - step] if i >= step else 0), above[i]
            c = above[i - step] if i >= step else 0
            near = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            row[i] = (row[i] + [0, a, b, (a + b) // 2, near][kind]) % 256
        rows.append(row)
        above = row
    return b"".join(rows)


def read_alpha(model, file):
    payload, (width, height) = file["chunks"][2], (file["width"], file["height"])
    if payload[0] == 0:
        latents = read_latents(model, payload[1], width, height, payload[2:], file["lanes"], False)
        return pixels(model, payload[1], latents, width, height, True, file["bits"])
    bits = payload[0]
    check(bits in (1, 2, 4, 8, 16) and bits <= file["bits"], "bits of alpha")
    rows = np.frombuffer(unfilter(zlib.decompress(payload[1:]), height, width, bits), np.uint8)
    planes = np.unpackbits(rows.reshape(height, -1), axis=1)[:, : width * bits].reshape(height, width, bits)
    v = planes.astype(np.int64) @ (1 << np.arange(bits)[::-1])
    return (v * ((2 ** file["bits"] - 1) // (2**bits - 1)))[:, :, None]


def decode(model, data):
    file = read_container(data)
    check(file["model"] == model.id, "another model")
    width, height = file["width"], file["height"]
    payload = file["chunks"][1]
    latents = read_latents(model, file["quality"], width, height, payload, file["lanes"], file["filtered"])
    crc = zlib.crc32(file["chunks"].get(2, b""), zlib.crc32(latents[1], file["crc"]))
    check(crc == file["checksum"], "the checksum of the latents")
    picture = pixels(model, file["quality"], latents, width, height, file["grey"], file["bits"])
    if file["has_alpha"]:
        picture = np.concatenate([picture, read_alpha(model, file)], axis=2)
    return picture.astype("<u2" if file["bits"] == 16 else np.uint8)


def main(model_path, *paths):
    model = Model(model_path)
    for path in paths:
        with open(path, "rb") as stream:
            picture = decode(model, stream.read())
        height, width, channels = picture.shape
        digest = hashlib.sha256(struct.pack("<IIB", width, height, channels) + picture.tobytes())
        print(f"{digest.hexdigest()}  {path}")


if __name__ == "__main__":
    main(*sys.argv[1:])
