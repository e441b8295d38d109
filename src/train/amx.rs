//! Matrix products on the tile registers of newer Intel processors (AMX):
//! both factors rounded to bf16, sums in f32.
//!
//! A tile is 16 rows of 64 bytes. `tdpbf16ps` multiplies a tile of 16 rows and
//! 32 columns by one of 32 rows and 16 columns and adds to 16 x 16 floats, in
//! 16 cycles: sixteen times what the vector units do in f32. The right factor's
//! tile holds its rows in pairs, the two of a pair side by side ("pairs" below).
//! (Intel 64 and IA-32 Architectures Software Developer's Manual, vol. 1, ch. 18.)

#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::RefCell;
use std::sync::OnceLock;

use super::kernels::Matrix;

/// Rows of a tile, and columns of a tile of sums.
const SIDE: usize = 16;
/// Columns of a tile of bf16.
const DEPTH: usize = 32;
/// Rows and columns of sums that are computed at once.
const BLOCK: usize = 2 * SIDE;
/// Of the inner dimension at a time, so that the right factor stays in the L2.
const INNER: usize = 1024;

/// What a tile register holds.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Tile([u8; 1024]);

/// The operand of `ldtilecfg`.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight full tiles.
static FULL: Configuration = Configuration {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Whether the processor has the tiles and the system lets this process use them.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        // Bits 22 (AMX-BF16) and 24 (AMX-TILE) of leaf 7.
        let has_tiles = __cpuid_count(7, 0).edx >> 22 & 0b101 == 0b101;
        let has_vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        has_tiles && has_vectors && permitted()
    })
}

/// Asks Linux for the tiles' state, which a process must before it touches them.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    /// `ARCH_REQ_XCOMP_PERM` of asm/prctl.h.
    const REQUEST: libc::c_long = 0x1023;
    /// The state component of tile data.
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call takes two integers and changes nothing but the process' permission.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Both factors as tiles, kept by each thread between products.
#[derive(Default)]
struct Packed {
    left: Vec<Tile>,
    right: Vec<Tile>,
}

/// `out = a * b`, and `finish` on each band of finished rows (the first of them,
/// and their numbers) while they are in the cache.
///
/// Panics where [`available`] says no.
pub fn matmul(out: &mut [f32], a: Matrix, b: Matrix, finish: &mut dyn FnMut(usize, &mut [f32])) {
    thread_local! {
        static PACKED: RefCell<Packed> = RefCell::default();
    }
    assert!(available(), "no tile registers");
    assert!(a.cols() == b.rows() && out.len() == a.rows() * b.cols(), "sizes differ");
    // SAFETY: `available` has found the instructions, and the sizes agree.
    PACKED.with_borrow_mut(|packed| unsafe { product(packed, out, a, b, finish) });
}

/// # Safety
/// The processor must have the tiles, and the sizes must agree.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn product(
    packed: &mut Packed,
    out: &mut [f32],
    a: Matrix,
    b: Matrix,
    finish: &mut dyn FnMut(usize, &mut [f32]),
) {
    let (m, k, n) = (a.rows(), a.cols(), b.cols());
    let mut sums = [[0.0f32; BLOCK]; BLOCK];
    // SAFETY: the configuration is a valid one of 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const FULL, options(nostack)) };
    for first in (0..k).step_by(INNER) {
        let depth = (k - first).min(INNER);
        let tiles = depth.div_ceil(DEPTH);
        let last = first + depth == k;
        let add = first > 0;
        let columns = 2 * n.div_ceil(BLOCK);
        packed.right.resize(columns * tiles, Tile([0; 1024]));
        for (index, tile) in packed.right.iter_mut().enumerate() {
            pack(tile, b, first + index % tiles * DEPTH, index / tiles * SIDE, false);
        }
        packed.left.resize(2 * tiles, Tile([0; 1024]));
        for top in (0..m).step_by(BLOCK) {
            for (index, tile) in packed.left.iter_mut().enumerate() {
                pack(tile, a, top + index / tiles * SIDE, first + index % tiles * DEPTH, true);
            }
            let rows = (m - top).min(BLOCK);
            for (index, right) in packed.right.chunks_exact(2 * tiles).enumerate() {
                let column = index * BLOCK;
                let width = (n - column).min(BLOCK);
                if rows == BLOCK && width == BLOCK {
                    let corner = out[top * n + column..].as_mut_ptr();
                    // SAFETY: a whole block lies within `out`, and both factors have `tiles` tiles a panel.
                    unsafe { block(&packed.left, right, tiles, corner, n, add) };
                    continue;
                }
                if add {
                    for (sums, out) in sums.iter_mut().zip(out[top * n..].chunks(n)).take(rows) {
                        sums[..width].copy_from_slice(&out[column..column + width]);
                    }
                }
                // SAFETY: `sums` is a whole block.
                unsafe { block(&packed.left, right, tiles, sums.as_mut_ptr().cast(), BLOCK, add) };
                for (sums, out) in sums.iter().zip(out[top * n..].chunks_mut(n)).take(rows) {
                    out[column..column + width].copy_from_slice(&sums[..width]);
                }
            }
            if last {
                finish(top, &mut out[top * n..(top + rows) * n]);
            }
        }
    }
    // SAFETY: no tile is in use any more.
    unsafe { asm!("tilerelease", options(nomem, nostack)) };
}

/// 32 x 32 sums: `left` and `right` are two panels of `tiles` tiles each.
///
/// # Safety
/// `out` must be the corner of 32 rows of 32 floats, `stride` floats apart, and
/// the tiles must be configured.
#[inline]
unsafe fn block(left: &[Tile], right: &[Tile], tiles: usize, out: *mut f32, stride: usize, add: bool) {
    assert!(left.len() == 2 * tiles && right.len() == 2 * tiles && tiles > 0);
    // SAFETY: the caller vouches for `out`; the loop reads `tiles` tiles from each of four panels.
    unsafe {
        let bytes = 4 * stride;
        let (upper, lower) = (out, out.add(SIDE * stride));
        if add {
            asm!(
                "tileloadd tmm0, [{u} + {s}*1]",
                "tileloadd tmm1, [{u} + {s}*1 + 64]",
                "tileloadd tmm2, [{l} + {s}*1]",
                "tileloadd tmm3, [{l} + {s}*1 + 64]",
                u = in(reg) upper, l = in(reg) lower, s = in(reg) bytes,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, readonly),
            );
        } else {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, nomem),
            );
        }
        asm!(
            "2:",
            "tileloadd tmm4, [{a0} + {row}*1]",
            "tileloadd tmm6, [{b0} + {row}*1]",
            "tileloadd tmm5, [{a1} + {row}*1]",
            "tileloadd tmm7, [{b1} + {row}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 1024",
            "add {a1}, 1024",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {count}",
            "jnz 2b",
            "tilestored [{u} + {s}*1], tmm0",
            "tilestored [{u} + {s}*1 + 64], tmm1",
            "tilestored [{l} + {s}*1], tmm2",
            "tilestored [{l} + {s}*1 + 64], tmm3",
            a0 = inout(reg) left.as_ptr() => _,
            a1 = inout(reg) left.as_ptr().add(tiles) => _,
            b0 = inout(reg) right.as_ptr() => _,
            b1 = inout(reg) right.as_ptr().add(tiles) => _,
            count = inout(reg) tiles => _,
            row = in(reg) 64usize,
            u = in(reg) upper, l = in(reg) lower, s = in(reg) bytes,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Fills a tile with the numbers of `from` whose corner is `(row, column)`:
/// 16 rows of 32 for a left factor, 32 rows of 16 in pairs for a right one.
/// Zeros stand where the matrix has ended.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pack(tile: &mut Tile, from: Matrix, row: usize, column: usize, left: bool) {
    let vectors = match (left, from.is_transposed()) {
        (true, false) => rows(from.data(), from.cols(), row, column),
        (true, true) => transpose(pairs(from.data(), from.rows(), column, row)),
        (false, false) => pairs(from.data(), from.cols(), row, column),
        (false, true) => transpose(rows(from.data(), from.rows(), column, row)),
    };
    for (to, vector) in tile.0.chunks_exact_mut(64).zip(vectors) {
        // SAFETY: 64 bytes are written to a slice of 64.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), vector) };
    }
}

/// Up to sixteen floats at `data[row * width + column]` that lie in that row.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(data: &[f32], width: usize, row: usize, column: usize) -> __m512 {
    let count = width.saturating_sub(column).min(16);
    let at = row * width + column;
    if count == 0 || at + count > data.len() {
        return _mm512_setzero_ps();
    }
    let mask = ((1u32 << count) - 1) as u16;
    // SAFETY: only the masked floats are read, and they lie within `data`.
    unsafe { _mm512_maskz_loadu_ps(mask, data.as_ptr().add(at)) }
}

/// Sixteen rows of 32 columns as bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn rows(data: &[f32], width: usize, row: usize, column: usize) -> [__m512i; 16] {
    let mut out = [_mm512_setzero_si512(); 16];
    for (i, out) in out.iter_mut().enumerate() {
        let (low, high) = (load(data, width, row + i, column), load(data, width, row + i, column + 16));
        *out = bits(_mm512_cvtne2ps_pbh(high, low));
    }
    out
}

/// 32 rows of sixteen columns as bf16, each two rows side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pairs(data: &[f32], width: usize, row: usize, column: usize) -> [__m512i; 16] {
    // 0, 16, 1, 17, ...
    let order = _mm512_add_epi32(
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
        _mm512_slli_epi32::<16>(_mm512_set_epi32(
            31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16,
        )),
    );
    let mut out = [_mm512_setzero_si512(); 16];
    for (i, out) in out.iter_mut().enumerate() {
        let (even, odd) =
            (load(data, width, row + 2 * i, column), load(data, width, row + 2 * i + 1, column));
        *out = _mm512_permutexvar_epi16(order, bits(_mm512_cvtne2ps_pbh(odd, even)));
    }
    out
}

/// The bits of a vector of bf16.
#[inline]
#[target_feature(enable = "avx512f")]
fn bits(v: __m512bh) -> __m512i {
    // SAFETY: both are 64 plain bytes.
    unsafe { std::mem::transmute(v) }
}

/// The transpose of sixteen rows of sixteen 32-bit numbers.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(v: [__m512i; 16]) -> [__m512i; 16] {
    let mut pairs = v;
    for i in (0..16).step_by(2) {
        pairs[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    // quads[4 q + j] holds, in its lane l, column 4 l + j of rows 4 q .. 4 q + 3.
    let mut quads = v;
    for q in (0..16).step_by(4) {
        quads[q] = _mm512_unpacklo_epi64(pairs[q], pairs[q + 2]);
        quads[q + 1] = _mm512_unpackhi_epi64(pairs[q], pairs[q + 2]);
        quads[q + 2] = _mm512_unpacklo_epi64(pairs[q + 1], pairs[q + 3]);
        quads[q + 3] = _mm512_unpackhi_epi64(pairs[q + 1], pairs[q + 3]);
    }
    let mut out = v;
    for j in 0..4 {
        let [a, b, c, d] = [quads[j], quads[4 + j], quads[8 + j], quads[12 + j]];
        let (ab_even, cd_even) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d));
        let (ab_odd, cd_odd) = (_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(c, d));
        out[j] = _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even);
        out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(ab_even, cd_even);
        out[4 + j] = _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd);
        out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(ab_odd, cd_odd);
    }
    out
}
