#!/usr/bin/env bash
# Builds the decoder and puts it beside the page: web/page is then a folder that
# any web server can serve. SIMD is in every browser since 2023; AECODEC_WEB_SIMD=0
# builds for older ones.
set -euo pipefail
cd "$(dirname "$0")/.."
rustup target add wasm32-unknown-unknown 2>/dev/null || true
features=+simd128
[ "${AECODEC_WEB_SIMD:-1}" = 0 ] && features=-simd128
export CARGO_TARGET_DIR=target/architectures # shared with tests/architectures.rs
RUSTFLAGS="-C target-feature=$features" CARGO_PROFILE_RELEASE_STRIP=true \
    cargo build --release --package aecodec-web --target wasm32-unknown-unknown "$@"
cp target/architectures/wasm32-unknown-unknown/release/aecodec_web.wasm web/page/
