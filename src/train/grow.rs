//! Goes on with a run at more latent channels or blocks: the old weights keep
//! their places, new blocks start as identities, and new latents as
//! [`super::new_latents`] finds them, with nobody yet reading them but the
//! synthesis.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::checkpoint::Checkpoint;
use super::model::{Batch, CodecModel, Y_STEP, numbers};
use super::net::Layout;
use super::new_latents::{NewLatents, new_latents};
use super::optimizer::State;
use crate::model::arch::{Arch, Part};
use crate::model::quality::ANCHORS;

/// Where an entry of an axis of `old` lies when the axis has grown to `new`
/// entries. Heads write means, then scales: each half grows on its own.
fn place(index: usize, old: usize, new: usize, halves: bool) -> usize {
    let (old, new) = (old / 2, new / 2);
    if halves && index >= old { index - old + new } else { index }
}

/// One matrix of a variable: where it starts and how its old entries move.
struct Move {
    old: usize,
    new: usize,
    shape: (usize, usize),
    grown: (usize, usize),
    halves: bool,
}

impl Move {
    fn apply(&self, from: &[f32], to: &mut [f32]) {
        for row in 0..self.shape.0 {
            for col in 0..self.shape.1 {
                let col_to = place(col, self.shape.1, self.grown.1, self.halves);
                to[self.new + row * self.grown.1 + col_to] = from[self.old + row * self.shape.1 + col];
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
        let halves = matches!(part, Part::Prior | Part::Context) && index == last;
        list.push(Move { old: a.weight, new: b.weight, shape: a.shape, grown: b.shape, halves });
        let (rows, old_width, new_width) = (a.bias_rows, a.shape.1, b.shape.1);
        list.push(Move {
            old: a.bias,
            new: b.bias,
            shape: (rows, old_width),
            grown: (rows, new_width),
            halves,
        });
    }
    list
}

/// Moves a run to `start`'s architecture, which may only have more latents and
/// more blocks. `start` holds the random start of the new architecture, whose
/// blocks are identities; `sample` are crops to find new latents on.
pub fn grow(old: Checkpoint, start: &CodecModel, sample: &Batch) -> Result<Checkpoint> {
    let new = &start.arch;
    let (m, added) = (old.arch.latents, new.latents.saturating_sub(old.arch.latents));
    let larger = Arch {
        latents: new.latents,
        analysis_blocks: new.analysis_blocks,
        synthesis_blocks: new.synthesis_blocks,
        ..old.arch.clone()
    };
    let shrinks = new.latents < m
        || new.analysis_blocks < old.arch.analysis_blocks
        || new.synthesis_blocks < old.arch.synthesis_blocks;
    if larger != *new || shrinks {
        bail!("a run can only grow in latents and blocks: it has {:?}, asked for {new:?}", old.arch);
    }
    let bring = match added {
        0 => None,
        _ => Some(new_latents(&CodecModel::averaged(&old)?, sample, added)?),
    };
    let (mut weights, mut states) = (BTreeMap::new(), BTreeMap::new());
    for (name, from) in &old.weights {
        let mut grown = numbers(&start.vars[name])?;
        let list = match Part::ALL.into_iter().find(|part| part.name() == name) {
            Some(part) => {
                if let Some(bring) = &bring {
                    place_new_latents(part, new, m, bring, &mut grown);
                }
                moves(&old.arch, new, part)
            }
            None => {
                let width = from.len() / ANCHORS;
                let grown_width = grown.len() / ANCHORS;
                if let Some(bring) = bring.as_ref().filter(|_| name == Y_STEP) {
                    for (row, steps) in
                        grown.chunks_exact_mut(grown_width).zip(bring.step_log2.chunks_exact(added))
                    {
                        row[m..].copy_from_slice(steps);
                    }
                }
                let (shape, grown) = ((ANCHORS, width), (ANCHORS, grown_width));
                vec![Move { old: 0, new: 0, shape, grown, halves: false }]
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
    Ok(Checkpoint { arch: new.clone(), step: old.step, seconds: old.seconds, weights, states })
}

/// Writes the new channels' parameters; the old ones are moved in afterwards.
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
