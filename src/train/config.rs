//! Every number of a training run, with its default and what it does.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::kernels::LANES;
use super::optimizer::Method;
use crate::model::{Arch, QualityIndex, RestorationArch, Task};

/// What is to be trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// A codec
    Codec,
    /// The synthesis transform alone of the codec --from, for the latents that its files hold
    Synthesis,
    /// A denoiser
    Denoise,
    /// An enlarger, by --factor
    Upscale,
}

/// Train a model on a folder of pictures, or go on with a run.
#[derive(Debug, Clone, clap::Args)]
pub struct TrainArgs {
    /// What the model is for
    #[arg(long, value_enum, default_value_t = Purpose::Codec)]
    pub task: Purpose,
    /// Folder of training pictures
    #[arg(long)]
    pub data: PathBuf,
    /// Folder of validation pictures; their first 16 in name order are used while training
    #[arg(long)]
    pub val: Option<PathBuf>,
    /// Folder of the run: checkpoint and log. An existing run goes on from its checkpoint
    #[arg(long, default_value = "runs/default")]
    pub run: PathBuf,
    /// Minutes of the whole schedule, over all resumptions
    #[arg(long, default_value_t = 60.0)]
    pub minutes: f64,
    /// Crops in a batch
    #[arg(long, default_value_t = 8)]
    pub batch: usize,
    /// Side of a crop in pixels, a multiple of 64
    #[arg(long, default_value_t = 192)]
    pub crop: usize,
    /// Share of the crops whose colours are mixed at random, so that saturated colours are no surprise
    #[arg(long, default_value_t = 0.04)]
    pub false_colours: f64,
    /// First and last quality index of the crops
    #[arg(long, default_value = "0-255", value_parser = indices)]
    pub indices: RangeInclusive<u8>,
    /// Peak learning rate
    #[arg(long, default_value_t = 1e-3)]
    pub lr: f64,
    /// Update rule
    #[arg(long, value_enum, default_value_t = Method::Adamw)]
    pub optimizer: Method,
    /// Share of the schedule at which the cosine decay starts
    #[arg(long, default_value_t = 0.3)]
    pub decay_from: f64,
    /// Share of the schedule before the latents are rounded, not noisy, and the encoder is held at its average
    #[arg(long, default_value_t = 0.88)]
    pub hard_from: f64,
    /// Gradients with a larger norm are scaled down to it
    #[arg(long, default_value_t = 20.0)]
    pub clip: f64,
    /// Data-parallel workers, one thread each
    #[arg(long, default_value_t = 2)]
    pub workers: usize,
    /// Seed of the weights, crops and noise
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Steps between two log lines
    #[arg(long, default_value_t = 50)]
    pub log_every: u64,
    /// Minutes between two checkpoints with validation
    #[arg(long, default_value_t = 8.0)]
    pub save_every: f64,
    /// Make the schedule this many steps long instead of --minutes
    #[arg(long)]
    pub steps: Option<u64>,
    /// Stop after this step, wherever the schedule is; the run can go on later
    #[arg(long)]
    pub stop_after: Option<u64>,
    /// Start a new run from this model file (`.aem`) instead of the KLT
    #[arg(long)]
    pub from: Option<PathBuf>,
    /// Train a codec with the symbols that files would hold under the tables of --from, whose steps stay
    #[arg(long, requires = "from")]
    pub coded: bool,
    /// Let a run (or the model of --from) with fewer latents or blocks grow to what is asked for
    #[arg(long)]
    pub grow: bool,
    /// Cut the model of --from down to what is asked for
    #[arg(long, requires = "from")]
    pub shrink: bool,
    /// Numbers of a codec's networks
    #[command(flatten, next_help_heading = "Codec")]
    pub codec: CodecArgs,
    /// Numbers of a restoring network
    #[command(flatten, next_help_heading = "Denoiser or enlarger")]
    pub restoration: RestorationArgs,
}

/// A number of channels that the depthwise layers' loops can take.
fn channels(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 16..=4096) if count % LANES == 0 => Ok(count),
        _ => Err(format!("not a multiple of {LANES} from 16 to 4096")),
    }
}

/// Two quality indices.
pub fn indices(text: &str) -> Result<RangeInclusive<u8>, String> {
    let ends = text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    match ends {
        Some((first, last)) if first < last => Ok(first..=last),
        _ => Err("not two ascending numbers from 0 to 255 with a - between them".to_string()),
    }
}

/// The index in the middle.
pub fn middle(indices: &RangeInclusive<u8>) -> QualityIndex {
    QualityIndex(indices.start().midpoint(*indices.end()))
}

/// Where an index of all lies among `indices`.
pub fn scaled(index: u8, indices: &RangeInclusive<u8>) -> u8 {
    let span = u32::from(indices.end() - indices.start());
    indices.start() + (u32::from(index) * span / 255) as u8
}

/// The numbers of [`Arch`].
#[derive(Debug, Clone, clap::Args)]
pub struct CodecArgs {
    /// C: channels of the transforms' streams at 1/8
    #[arg(long, default_value_t = 128, value_parser = channels)]
    pub channels: usize,
    /// Channels of the analysis transform, where they are to differ
    #[arg(long, value_parser = channels)]
    pub analysis_channels: Option<usize>,
    /// Channels within the blocks of the synthesis transform, where they are to differ from its stream's
    #[arg(long, value_parser = channels)]
    pub inner: Option<usize>,
    /// Channels within the blocks of the analysis transform, where they are to differ from its stream's
    #[arg(long, value_parser = channels)]
    pub analysis_inner: Option<usize>,
    /// Blocks of the analysis transform
    #[arg(long, default_value_t = 3)]
    pub analysis_blocks: usize,
    /// Blocks of the synthesis transform
    #[arg(long, default_value_t = 3)]
    pub synthesis_blocks: usize,
    /// M: latent channels at 1/16
    #[arg(long, default_value_t = 384)]
    pub latents: usize,
    /// H: channels of the hyper-transforms and the context network
    #[arg(long, default_value_t = 128, value_parser = channels)]
    pub hyper_channels: usize,
    /// Channels of the hyper-analysis transform, where they are to differ
    #[arg(long, value_parser = channels)]
    pub hyper_analysis_channels: Option<usize>,
    /// N: hyper-latent channels at 1/64
    #[arg(long, default_value_t = 96)]
    pub hyper_latents: usize,
}

/// The numbers of [`RestorationArch`].
#[derive(Debug, Clone, clap::Args)]
pub struct RestorationArgs {
    /// How many times the width and height: 2, 3 or 4
    #[arg(long, default_value_t = 2, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(2..=4))]
    pub factor: usize,
    /// Channels at the finest resolution
    #[arg(long, default_value_t = 64, value_parser = channels)]
    pub width: usize,
    /// Resolutions
    #[arg(long, default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=4))]
    pub levels: usize,
    /// Blocks on each side of the coarser resolutions
    #[arg(long, default_value_t = 1)]
    pub blocks: usize,
    /// Blocks at the coarsest resolution
    #[arg(long, default_value_t = 4)]
    pub inner_blocks: usize,
}

impl CodecArgs {
    /// The shape of the networks.
    pub fn arch(&self) -> Arch {
        let analysis_channels = self.analysis_channels.unwrap_or(self.channels);
        Arch {
            analysis_channels,
            analysis_blocks: self.analysis_blocks,
            synthesis_channels: self.channels,
            synthesis_blocks: self.synthesis_blocks,
            latents: self.latents,
            hyper_analysis_channels: self.hyper_analysis_channels.unwrap_or(self.hyper_channels),
            hyper_synthesis_channels: self.hyper_channels,
            hyper_latents: self.hyper_latents,
            analysis_inner: self.analysis_inner.unwrap_or(analysis_channels),
            synthesis_inner: self.inner.unwrap_or(self.channels),
        }
    }
}

impl RestorationArgs {
    /// The shape of a denoiser, or of an enlarger by [`Self::factor`].
    pub fn arch(&self, denoise: bool) -> RestorationArch {
        RestorationArch {
            task: if denoise { Task::Denoise } else { Task::Upscale(self.factor) },
            channels: self.width,
            levels: self.levels,
            blocks: self.blocks,
            inner_blocks: self.inner_blocks,
        }
    }
}

impl TrainArgs {
    /// The learning rate at `progress` (0..1) of the schedule: a linear
    /// warm-up over 1 %, constant, then a cosine to 1 %; with rounded latents
    /// from 15 % towards nothing.
    pub fn learning_rate(&self, progress: f64) -> f64 {
        if progress >= self.hard_from {
            let done = (progress - self.hard_from) / (1.0 - self.hard_from);
            return self.lr * 0.15 * (0.5 + 0.5 * (done * std::f64::consts::PI).cos());
        }
        let progress = progress / self.hard_from;
        let warm = (progress / 0.01).clamp(0.02, 1.0);
        let decay = ((progress - self.decay_from) / (1.0 - self.decay_from)).clamp(0.0, 1.0);
        let cosine = 0.505 + 0.495 * (decay * std::f64::consts::PI).cos();
        self.lr * warm * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        train: TrainArgs,
    }

    #[test]
    fn channels_that_no_loop_takes_are_named() {
        for option in ["--channels", "--analysis-channels", "--hyper-channels", "--inner", "--width"] {
            let parse = |value| Command::try_parse_from(["train", "--data", "x", option, value]);
            assert!(parse("48").is_ok_and(|command| command.train.crop == 192), "{option}");
            for wrong in ["72", "0", "many"] {
                let error = parse(wrong).err().expect(option).to_string();
                assert!(error.contains(wrong) && error.contains("multiple of 16"), "{error}");
            }
        }
    }

    #[test]
    fn indices_are_two_that_ascend() {
        assert_eq!(indices("0-95"), Ok(0..=95));
        for wrong in ["", "-", "7", "3-3", "9-2", "0-256", "a-b", "1-2-3"] {
            assert!(indices(wrong).is_err(), "{wrong}");
        }
    }
}
