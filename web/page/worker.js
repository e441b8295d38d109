// Codes pictures off the page's thread. A message { id, task, ... } is answered
// by { id, ...result } or { id, error }.
import { Aecodec, psnr } from "./aecodec.js";

const ready = Aecodec.load(fetch("aecodec_web.wasm"));

const tasks = {
  decode(codec, { file }) {
    const start = performance.now();
    const picture = codec.decode(file);
    return { picture, milliseconds: performance.now() - start };
  },
  encode(codec, { picture, quality }) {
    const start = performance.now();
    const file = codec.encode(picture, quality);
    const middle = performance.now();
    const decoded = codec.decode(file);
    const end = performance.now();
    return {
      file,
      picture: decoded,
      psnr: psnr(picture.data, decoded.data),
      milliseconds: end - middle,
      encodeMilliseconds: middle - start,
    };
  },
  level: (codec) => ({ level: codec.level() }),
};

onmessage = async ({ data }) => {
  try {
    postMessage({ id: data.id, ...tasks[data.task](await ready, data) });
  } catch (error) {
    postMessage({ id: data.id, error: error.message });
  }
};
