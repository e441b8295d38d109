//! Which instruction set runs a network.

use super::kernel;

/// An instruction set the engine has kernels for. All of them compute the same
/// numbers; a higher one is faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Plain Rust, on every machine: the specification of the others.
    Scalar,
    /// WebAssembly compiled with `-C target-feature=+simd128`.
    Simd128,
    /// aarch64.
    Neon,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-512 F, BW and VNNI.
    Avx512,
}

impl Level {
    const ALL: [Level; 5] = [Level::Scalar, Level::Simd128, Level::Neon, Level::Avx2, Level::Avx512];

    /// The levels this processor has, slowest first. Never empty.
    pub fn available() -> Vec<Level> {
        Level::ALL.into_iter().filter(|&level| kernel::of(level).is_some()).collect()
    }

    /// The fastest level this processor has, or a lower one if the environment
    /// variable `AECODEC_CPU` (`scalar`, `simd128`, `neon`, `avx2` or `avx512`) names it.
    ///
    /// The variable only ever lowers the level: one that this processor lacks
    /// stands for the best below it, and a name that is none of the above means
    /// `scalar`, because whoever sets the variable distrusts something faster.
    pub fn best() -> Level {
        match std::env::var_os("AECODEC_CPU") {
            Some(name) if !name.is_empty() => {
                Level::at_most(name.to_str().and_then(Level::named).unwrap_or(Level::Scalar))
            }
            _ => Level::at_most(Level::Avx512),
        }
    }

    /// The fastest level of this processor that is not above `limit`.
    fn at_most(limit: Level) -> Level {
        Level::available().into_iter().filter(|&level| level <= limit).max().unwrap_or(Level::Scalar)
    }

    /// The name `AECODEC_CPU` knows a level by.
    pub fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::Simd128 => "simd128",
            Level::Neon => "neon",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    fn named(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_only_lowers_the_level() {
        let available = Level::available();
        assert_eq!(available[0], Level::Scalar);
        for limit in Level::ALL {
            let level = Level::at_most(limit);
            assert!(level <= limit && available.contains(&level));
        }
    }

    #[test]
    fn names_are_read_back() {
        for level in Level::ALL {
            assert_eq!(Level::named(level.name()), Some(level));
        }
        assert_eq!(Level::named("mmx"), None);
    }
}
