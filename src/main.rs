//! x
use clap::Parser;
#[derive(Parser)]
enum Cli {
    Train(aecodec::train::TrainArgs),
}
fn main() {
    let Cli::Train(a) = Cli::parse();
    if let Err(e) = aecodec::train::trainer::train(&a) {
        eprintln!("error: {e:#}");
        std::process::exit(1)
    }
}
