// Decodes the golden files with the WebAssembly module, encodes their pixels
// again, and compares both with the hashes in testdata/golden.
//
//     node web/test/golden.mjs web/page/aecodec_web.wasm
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Aecodec } from "../page/aecodec.js";

const golden = new URL("../../testdata/golden/", import.meta.url);
const list = (name) =>
  readFileSync(new URL(name, golden), "utf8")
    .trim()
    .split("\n")
    .map((line) => line.split("  "));

/** The hash of tests/golden.rs: size, samples a pixel, pixels. */
function hashOfPixels({ width, height, data }) {
  let grey = true;
  for (let i = 0; i < data.length; i += 4) {
    grey &&= data[i] === data[i + 1] && data[i] === data[i + 2];
  }
  const channels = grey ? 1 : 3;
  const samples = Buffer.alloc(width * height * channels);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < channels; c++) samples[i * channels + c] = data[4 * i + c];
  }
  const head = Buffer.alloc(9);
  head.writeUInt32LE(width, 0);
  head.writeUInt32LE(height, 4);
  head[8] = channels;
  return createHash("sha256").update(head).update(samples).digest("hex");
}

const codec = await Aecodec.load(readFileSync(process.argv[2]));
const encoded = new Map(list("encoded.sha256").map(([hash, file]) => [file, hash]));
let passed = 0;
let failed = 0;
const check = (what, found, expected) => {
  const same = found === expected;
  same ? passed++ : failed++;
  if (!same) console.log(`${what}: ${found}, expected ${expected}`);
};
for (const [hash, file] of list("pixels.sha256")) {
  // A canvas has 8 bits and always alpha: these come out as other samples.
  if (/alpha|rgba|16/.test(file)) continue;
  const start = performance.now();
  const picture = codec.decode(readFileSync(new URL(file, golden)));
  const time = performance.now() - start;
  check(`pixels of ${file}`, hashOfPixels(picture), hash);
  const bytes = codec.encode(picture, 40);
  check(`bytes of ${file}`, createHash("sha256").update(bytes).digest("hex"), encoded.get(file));
  console.log(`${file}: ${picture.width}x${picture.height}, decoded in ${time.toFixed(0)} ms`);
}
console.log(`wasm32, ${codec.level()}: ${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
