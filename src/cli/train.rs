//! `aecodec train` and `aecodec export`: the trainer, and a first Ctrl-C that ends it in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aecodec::model::Arch;
use aecodec::train::checkpoint::Checkpoint;
use aecodec::train::{ExportArgs, TrainArgs, release, restoration_release, trainer};
use anyhow::Result;

/// Trains; an interrupt saves a checkpoint first.
pub fn run(args: &TrainArgs) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed))?;
    trainer::train(args, &stop)
}

/// Exports a run of either kind.
pub fn export(args: &ExportArgs) -> Result<()> {
    if Checkpoint::<Arch>::is_in(&args.run)? {
        release::release(args)
    } else {
        restoration_release::release(args).map(drop)
    }
}
