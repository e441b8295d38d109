// The other side of web/src/lib.rs: aecodec's WebAssembly module with a calling
// convention of JavaScript. Runs in pages, workers and node.

export class Aecodec {
  /** Takes the bytes of aecodec_web.wasm, or a promise of a Response. */
  static async load(source) {
    const { instance } =
      source instanceof Promise
        ? await WebAssembly.instantiateStreaming(source, {})
        : await WebAssembly.instantiate(source, {});
    return new Aecodec(instance.exports);
  }

  constructor(exports) {
    this.wasm = exports;
  }

  /** The instructions in use: "simd128" or "scalar". */
  level() {
    this.wasm.level();
    return new TextDecoder().decode(this.#output());
  }

  /** Decodes the bytes of an .aec file to { width, height, data: RGBA }. */
  decode(file, halvings = 0) {
    this.#input(file);
    const done = this.wasm.decode(halvings);
    const data = this.#result(done);
    return { width: this.wasm.width(), height: this.wasm.height(), data: new Uint8ClampedArray(data.buffer) };
  }

  /** Encodes RGBA pixels, quality 0 to 100, to the bytes of an .aec file. */
  encode({ width, height, data }, quality) {
    this.#input(data);
    return this.#result(this.wasm.encode(width, height, quality));
  }

  #input(bytes) {
    const address = this.wasm.input(bytes.length) >>> 0;
    new Uint8Array(this.wasm.memory.buffer, address, bytes.length).set(bytes);
  }

  /** A copy, since the next call may move the memory. */
  #output() {
    return new Uint8Array(this.wasm.memory.buffer, this.wasm.output() >>> 0, this.wasm.output_length()).slice();
  }

  #result(done) {
    const output = this.#output();
    if (!done) throw new Error(new TextDecoder().decode(output));
    return output;
  }
}

/** PSNR over red, green and blue, in dB; Infinity where nothing differs. */
export function psnr(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i += 4) {
    for (let c = i; c < i + 3; c++) sum += (a[c] - b[c]) ** 2;
  }
  return 10 * Math.log10((255 ** 2 * 3 * (a.length / 4)) / sum);
}
