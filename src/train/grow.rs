//! Goes on with a run at more channels, latents or blocks: the old weights keep
//! their places, new blocks start as identities, new channels of the streams at
//! 1/8 as the directions of a block of pixels that the old ones leave out, with
//! no block yet reading or writing them, and new latents as
//! [`super::new_latents`] finds them, with nobody yet reading them but the
//! synthesis.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use nalgebra::DMatrix;

use super::checkpoint::Checkpoint;
use super::model::{Batch, CodecModel, Y_STEP, numbers};
use super::net::Layout;
use super::new_latents::{NewLatents, complement, covariance, new_latents, transposed};
use super::optimizer::State;
use crate::model::arch::{Arch, PIXEL_CHANNELS, Part};
use crate::model::quality::ANCHORS;

/// Where an entry of an axis of `old` lies when the axis has grown to `new`
/// entries. An axis that holds the same channels several times over grows in
/// each copy on its own.
fn place(index: usize, old: usize, new: usize, copies: usize) -> usize {
    let (old, new) = (old / copies, new / copies);
    index / old * new + index % old
}

/// One matrix of a variable: where it starts and how its old entries move.
struct Move {
    old: usize,
    new: usize,
    shape: (usize, usize),
    grown: (usize, usize),
    copies: [usize; 2],
}

impl Move {
    fn apply(&self, from: &[f32], to: &mut [f32]) {
        for row in 0..self.shape.0 {
            let row_to = place(row, self.shape.0, self.grown.0, self.copies[0]);
            for col in 0..self.shape.1 {
                let col_to = place(col, self.shape.1, self.grown.1, self.copies[1]);
                to[self.new + row_to * self.grown.1 + col_to] = from[self.old + row * self.shape.1 + col];
            }
        }
    }
}

/// The matrices of one network in the old and the grown layout.
fn moves(old: &Arch, new: &Arch, part: Part) -> Vec<Move> {
    let (a, b) = (Layout::new(&old.layers(part)), Layout::new(&new.layers(part)));
    let last = a.slots.len() - 1;
    let mut list = Vec::new();
    for (index, a) in a.slots.iter().enumerate() {
        // New blocks stand in front of the last layer.
        let b = if index == last { &b.slots[b.slots.len() - 1] } else { &b.slots[index] };
        let copies = match part {
            // Means, then scales.
            Part::Prior | Part::Context if index == last => [1, 2],
            // 2x2 positions of 1/8.
            Part::Analysis if index == last => [4, 1],
            Part::Synthesis if index == 0 => [1, 4],
            _ => [1, 1],
        };
        list.push(Move { old: a.weight, new: b.weight, shape: a.shape, grown: b.shape, copies });
        let (shape, grown) = ((a.bias_rows, a.shape.1), (b.bias_rows, b.shape.1));
        list.push(Move { old: a.bias, new: b.bias, shape, grown, copies: [1, copies[1]] });
    }
    list
}

/// Moves a run to `start`'s architecture, which may only have more channels at
/// 1/8, latents and blocks. `start` holds the random start of the new
/// architecture, whose blocks are identities; `sample` are crops to find new
/// channels on.
pub fn grow(mut old: Checkpoint, start: &CodecModel, sample: &Batch) -> Result<Checkpoint> {
    let new = &start.arch;
    let larger = Arch {
        analysis_channels: new.analysis_channels,
        synthesis_channels: new.synthesis_channels,
        latents: new.latents,
        analysis_blocks: new.analysis_blocks,
        synthesis_blocks: new.synthesis_blocks,
        ..old.arch.clone()
    };
    if larger != *new || old.arch.numbers().iter().zip(new.numbers()).any(|(old, new)| new < *old) {
        bail!(
            "a run can only grow in channels at 1/8, latents and blocks: it has {:?}, asked for {new:?}",
            old.arch
        );
    }
    let wider = Arch {
        analysis_channels: new.analysis_channels,
        synthesis_channels: new.synthesis_channels,
        ..old.arch.clone()
    };
    let before = old.arch.synthesis_channels;
    let free = if new.synthesis_channels > before { before } else { 0 };
    if wider != old.arch {
        let wider = CodecModel::new(wider, 0)?;
        let pixels = covariance(&sample.pixels, PIXEL_CHANNELS);
        old = transfer(&old, &wider, |name, grown| match Part::from_name(name) {
            Some(part) => {
                place_new_channels(part, &old.arch, &wider.arch, &old.weights[name], &pixels, grown)
            }
            None => Ok(()),
        })?;
    }
    let (m, added) = (old.arch.latents, new.latents - old.arch.latents);
    let bring = match added {
        0 => None,
        _ => Some(new_latents(&CodecModel::averaged(&old)?, sample, added, free)?),
    };
    transfer(&old, start, |name, grown| {
        let Some(bring) = &bring else { return Ok(()) };
        if let Some(part) = Part::from_name(name) {
            place_new_latents(part, new, m, bring, grown);
        } else if name == Y_STEP {
            let rows = grown.chunks_exact_mut(new.latents);
            for (row, steps) in rows.zip(bring.step_log2.chunks_exact(added)) {
                row[m..].copy_from_slice(steps);
            }
        }
        Ok(())
    })
}

/// The variables of `start`, as `prepare` changes them by their name, with
/// those of `old` moved in.
fn transfer(
    old: &Checkpoint,
    start: &CodecModel,
    prepare: impl Fn(&str, &mut [f32]) -> Result<()>,
) -> Result<Checkpoint> {
    let (mut weights, mut states) = (BTreeMap::new(), BTreeMap::new());
    for (name, from) in &old.weights {
        let mut grown = numbers(&start.vars[name])?;
        prepare(name, &mut grown)?;
        let list = match Part::from_name(name) {
            Some(part) => moves(&old.arch, &start.arch, part),
            None => {
                let (shape, grown) = ((ANCHORS, from.len() / ANCHORS), (ANCHORS, grown.len() / ANCHORS));
                vec![Move { old: 0, new: 0, shape, grown, copies: [1, 1] }]
            }
        };
        let state = &old.states[name];
        for m in &list {
            m.apply(from, &mut grown);
        }
        let mut into = State::new(&grown, 0);
        for m in &list {
            m.apply(&state.m, &mut into.m);
            m.apply(&state.v, &mut into.v);
            m.apply(&state.ema, &mut into.ema);
        }
        weights.insert(name.clone(), grown);
        states.insert(name.clone(), into);
    }
    Ok(Checkpoint { arch: start.arch.clone(), step: old.step, seconds: old.seconds, weights, states })
}

/// Writes the parameters of new channels at 1/8, scaled half-way to whitening
/// as in the KLT start; `pixels` is the covariance of a block's. No old layer knows them yet.
fn place_new_channels(
    part: Part,
    old: &Arch,
    new: &Arch,
    trained: &[f32],
    pixels: &DMatrix<f64>,
    params: &mut [f32],
) -> Result<()> {
    let (c, grown) = match part {
        Part::Analysis => (old.analysis_channels, new.analysis_channels),
        Part::Synthesis => (old.synthesis_channels, new.synthesis_channels),
        _ => return Ok(()),
    };
    if grown == c {
        return Ok(());
    }
    params.fill(0.0);
    let (a, b) = (Layout::new(&old.layers(part)), Layout::new(&new.layers(part)));
    if part == Part::Analysis {
        let (basis, deviations) = complement(a.slots[0].weights(trained), pixels, grown - c)?;
        for (row, from) in
            params[b.slots[0].weight..].chunks_exact_mut(grown).zip(basis.chunks_exact(grown - c))
        {
            for ((w, v), d) in row[c..].iter_mut().zip(from).zip(&deviations) {
                *w = v / d.sqrt();
            }
        }
    } else {
        let (from, to) = (&a.slots[a.slots.len() - 1], &b.slots[b.slots.len() - 1]);
        let (basis, deviations) = complement(&transposed(from.weights(trained), c), pixels, grown - c)?;
        let rows = params[to.weight + c * PIXEL_CHANNELS..].chunks_exact_mut(PIXEL_CHANNELS);
        for ((row, from), d) in
            rows.zip(transposed(&basis, PIXEL_CHANNELS).chunks_exact(PIXEL_CHANNELS)).zip(&deviations)
        {
            row.iter_mut().zip(from).for_each(|(w, v)| *w = v * d.sqrt());
        }
    }
    Ok(())
}

/// Writes the new latents' parameters; the old ones are moved in afterwards.
fn place_new_latents(part: Part, arch: &Arch, old: usize, bring: &NewLatents, params: &mut [f32]) {
    let layout = Layout::new(&arch.layers(part));
    let (first, last) = (&layout.slots[0], layout.slots.last().expect("no network is empty"));
    let new = arch.latents;
    match part {
        Part::Analysis => {
            let rows = params[last.weight..][..last.shape.0 * new].chunks_exact_mut(new);
            for (row, from) in rows.zip(bring.analysis.chunks_exact(new - old)) {
                row[old..].copy_from_slice(from);
            }
            for row in params[last.bias..][..ANCHORS * new].chunks_exact_mut(new) {
                row[old..].copy_from_slice(&bring.analysis_bias);
            }
        }
        Part::Synthesis => {
            params[first.weight + old * first.shape.1..][..bring.synthesis.len()]
                .copy_from_slice(&bring.synthesis);
        }
        // What else reads latents starts deaf to the new ones.
        Part::HyperAnalysis | Part::Context | Part::Prior => {
            if part != Part::Prior {
                params[first.weight..][..first.shape.0 * first.shape.1].fill(0.0);
            }
            if part != Part::HyperAnalysis {
                params[last.weight..][..last.shape.0 * last.shape.1].iter_mut().for_each(|w| *w *= 0.05);
                for row in params[last.bias..][..ANCHORS * 2 * new].chunks_exact_mut(2 * new) {
                    row[new + old..].copy_from_slice(&bring.scale_log2);
                }
            }
        }
        Part::HyperSynthesis => {}
    }
}
