//! The codec's networks: a mean-scale hyperprior with one context step.
//!
//! ```text
//! x: RGB, 8x8 pixels unshuffled into 192 channels at 1/8
//!   --g_a--> y: M latents at 1/16
//! y --h_a--> z: N hyper-latents at 1/64
//! z_hat --h_s--> features F at 1/16
//! F --prior--> mean, log2 scale of the first half of y
//! F, y_hat (first half) --context--> mean, log2 scale of the second half
//! y_hat --g_s--> x_hat
//! ```
//!
//! The halves of y are a checkerboard that alternates between even and odd
//! channels, so every position and every channel is partly known in the second
//! step. Sources: Minnen et al. 2018 (mean-scale hyperprior), He et al. 2021
//! (checkerboard context).

use super::layer::{Layer, macs_per_input_position};
use Layer::{Depthwise, Gate, LeakyRelu, Pointwise, Residual, Shuffle, Unshuffle};

/// Pixels along each side of the block that becomes one position of the
/// analysis transform's input.
pub const PIXEL_BLOCK: usize = 8;
/// Channels of the analysis transform's input: 8x8 pixels of RGB. Channel
/// `(dy * 8 + dx) * 3 + colour`.
pub const PIXEL_CHANNELS: usize = PIXEL_BLOCK * PIXEL_BLOCK * 3;
/// Pixels along each side of the area of one latent position.
pub const LATENT_STRIDE: usize = 16;
/// Latent positions along each side of the area of one hyper-latent position.
pub const HYPER_STRIDE: usize = 4;

/// The numbers that fix a codec's networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arch {
    /// Channels of the analysis transform's stream at 1/8.
    pub analysis_channels: usize,
    /// Blocks of the analysis transform.
    pub analysis_blocks: usize,
    /// C: channels of the synthesis transform's stream at 1/8. Of the 192 directions
    /// of an 8x8 RGB block it can write C.
    pub synthesis_channels: usize,
    /// Blocks of the synthesis transform.
    pub synthesis_blocks: usize,
    /// M: latent channels at 1/16.
    pub latents: usize,
    /// Channels of the hyper-analysis transform.
    pub hyper_analysis_channels: usize,
    /// H: channels of the hyper-synthesis transform, of its features and of the context network.
    pub hyper_synthesis_channels: usize,
    /// N: hyper-latent channels at 1/64.
    pub hyper_latents: usize,
    /// Channels within the branches of the analysis transform's blocks.
    pub analysis_inner: usize,
    /// Channels within the branches of the synthesis transform's blocks.
    pub synthesis_inner: usize,
}

/// The six networks of a codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// g_a: pixels to latents.
    Analysis,
    /// h_a: latents to hyper-latents.
    HyperAnalysis,
    /// h_s: hyper-latents to features at the latents' resolution.
    HyperSynthesis,
    /// Features to means and log2 scales of the first half of the latents.
    Prior,
    /// Features and the first half to means and log2 scales of the second.
    Context,
    /// g_s: latents to pixels.
    Synthesis,
}

impl Part {
    /// Every part, in the order of a forward pass.
    pub const ALL: [Part; 6] = [
        Part::Analysis,
        Part::HyperAnalysis,
        Part::HyperSynthesis,
        Part::Prior,
        Part::Context,
        Part::Synthesis,
    ];

    /// The name that weight names start with.
    pub fn name(self) -> &'static str {
        match self {
            Part::Analysis => "g_a",
            Part::HyperAnalysis => "h_a",
            Part::HyperSynthesis => "h_s",
            Part::Prior => "prior",
            Part::Context => "context",
            Part::Synthesis => "g_s",
        }
    }

    /// The part of this [`Self::name`].
    pub fn from_name(name: &str) -> Option<Part> {
        Part::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// x + W2 dw(leaky(W1 x)), then x + W4 gate(W3 x): spatial mixing, then channel
/// mixing. The stream x has `c` channels, the branches have `inner`.
pub(super) fn block(c: usize, inner: usize) -> [Layer; 2] {
    [
        Residual(vec![
            Pointwise { inputs: c, outputs: inner },
            LeakyRelu,
            Depthwise { channels: inner },
            Pointwise { inputs: inner, outputs: c },
        ]),
        Residual(vec![
            Pointwise { inputs: c, outputs: 2 * inner },
            Gate { channels: inner },
            Pointwise { inputs: inner, outputs: c },
        ]),
    ]
}

impl Arch {
    /// The numbers, in the order of the fields.
    pub fn numbers(&self) -> [usize; 10] {
        [
            self.analysis_channels,
            self.analysis_blocks,
            self.synthesis_channels,
            self.synthesis_blocks,
            self.latents,
            self.hyper_analysis_channels,
            self.hyper_synthesis_channels,
            self.hyper_latents,
            self.analysis_inner,
            self.synthesis_inner,
        ]
    }

    /// The layers of one part.
    pub fn layers(&self, part: Part) -> Vec<Layer> {
        let (m, h, n) = (self.latents, self.hyper_synthesis_channels, self.hyper_latents);
        let mut list = Vec::new();
        match part {
            Part::Analysis => {
                let c = self.analysis_channels;
                list.push(Pointwise { inputs: PIXEL_CHANNELS, outputs: c });
                list.extend((0..self.analysis_blocks).flat_map(|_| block(c, self.analysis_inner)));
                list.push(Unshuffle);
                list.push(Pointwise { inputs: 4 * c, outputs: m });
            }
            Part::HyperAnalysis => {
                let h = self.hyper_analysis_channels;
                list.push(Pointwise { inputs: m, outputs: h });
                list.push(LeakyRelu);
                list.push(Unshuffle);
                list.push(Pointwise { inputs: 4 * h, outputs: h });
                list.extend(block(h, h));
                list.push(Unshuffle);
                list.push(Pointwise { inputs: 4 * h, outputs: n });
            }
            Part::HyperSynthesis => {
                list.push(Pointwise { inputs: n, outputs: 4 * h });
                list.push(Shuffle);
                list.extend(block(h, h));
                list.push(Pointwise { inputs: h, outputs: 4 * h });
                list.push(Shuffle);
                list.extend(block(h, h));
            }
            Part::Prior => list.push(Pointwise { inputs: h, outputs: 2 * m }),
            Part::Context => {
                list.push(Pointwise { inputs: h + m, outputs: h });
                list.extend(block(h, h));
                list.push(Pointwise { inputs: h, outputs: 2 * m });
            }
            Part::Synthesis => {
                let c = self.synthesis_channels;
                list.push(Pointwise { inputs: m, outputs: 4 * c });
                list.push(Shuffle);
                list.extend((0..self.synthesis_blocks).flat_map(|_| block(c, self.synthesis_inner)));
                list.push(Pointwise { inputs: c, outputs: PIXEL_CHANNELS });
            }
        }
        list
    }

    /// Channels a part reads.
    pub fn input_channels(&self, part: Part) -> usize {
        match part {
            Part::Analysis => PIXEL_CHANNELS,
            Part::HyperAnalysis | Part::Synthesis => self.latents,
            Part::HyperSynthesis => self.hyper_latents,
            Part::Prior => self.hyper_synthesis_channels,
            Part::Context => self.hyper_synthesis_channels + self.latents,
        }
    }

    /// Multiply-accumulates of one part per pixel of the picture.
    pub fn macs_per_pixel(&self, part: Part) -> f64 {
        let pixels_per_input = match part {
            Part::Analysis => PIXEL_BLOCK * PIXEL_BLOCK,
            Part::HyperSynthesis => (LATENT_STRIDE * HYPER_STRIDE).pow(2),
            Part::HyperAnalysis | Part::Prior | Part::Context | Part::Synthesis => LATENT_STRIDE.pow(2),
        };
        macs_per_input_position(&self.layers(part)) / pixels_per_input as f64
    }

    /// Multiply-accumulates per pixel of everything a decoder runs, which computes
    /// half of the predictions in each of the two passes.
    pub fn decoder_macs_per_pixel(&self) -> f64 {
        let parts = [Part::HyperSynthesis, Part::Prior, Part::Context, Part::Synthesis];
        let all: f64 = parts.map(|part| self.macs_per_pixel(part)).iter().sum();
        let predictions = self.hyper_synthesis_channels * 2 * self.latents;
        all - predictions as f64 / LATENT_STRIDE.pow(2) as f64
    }
}

/// Whether channel `c` of the latents at row `y`, column `x` belongs to the
/// first half, which is coded without context.
pub fn in_first_half(y: usize, x: usize, c: usize) -> bool {
    (y + x + c).is_multiple_of(2)
}

/// The first channel of a half at row `y`, column `x`; its others are every second from there.
pub fn start_of_half(first: bool, y: usize, x: usize) -> usize {
    usize::from(in_first_half(y, x, 0) != first)
}
