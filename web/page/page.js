// The page: a file comes in by dropping, by the button, or as ?open=URL; the
// worker codes it; canvases and figures show what came out.

const $ = (id) => document.getElementById(id);
const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let calls = 0;

worker.onmessage = ({ data }) => {
  const { resolve, reject } = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.error === undefined) resolve(data);
  else reject(new Error(data.error));
};
worker.onerror = () => fail(new Error("the decoder could not be loaded"));

function call(task, values = {}) {
  return new Promise((resolve, reject) => {
    const id = calls++;
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, task, ...values });
  });
}

/** The picture being compressed, and its name; null while an .aec file is shown. */
let original = null;
let opened = 0;

const bytes = (n) => (n < 10000 ? `${n} bytes` : `${(n / 1000).toFixed(1)} kB`);
const time = (ms) => `${ms.toFixed(0)} ms`;

function draw(canvas, { width, height, data }) {
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(new ImageData(data, width, height), 0, 0);
  canvas.closest("figure").hidden = false;
}

function fail(error) {
  $("error").textContent = error.message;
  $("error").hidden = false;
  document.body.dataset.state = "failed";
}

function offer(file, name) {
  URL.revokeObjectURL($("save").href);
  $("save").href = URL.createObjectURL(file);
  $("save").download = name;
  $("save").textContent = `Save ${name}`;
  $("save").hidden = false;
}

const stem = (name) => name.replace(/\.[^.]*$/, "") || "picture";

/** Shows a file: an .aec file by its first bytes, anything else as a picture. */
async function open(blob, name) {
  const turn = ++opened;
  $("error").hidden = true;
  document.body.dataset.state = "busy";
  try {
    const file = new Uint8Array(await blob.arrayBuffer());
    const isAec = [0xae, 0x41, 0x45, 0x43].every((byte, i) => file[i] === byte);
    if (isAec) await showDecoded(file, name, turn);
    else await showPicture(blob, name, turn);
  } catch (error) {
    if (turn === opened) fail(error);
  }
}

async function showDecoded(file, name, turn) {
  const { picture, milliseconds } = await call("decode", { file });
  if (turn !== opened) return;
  original = null;
  $("controls").hidden = true;
  $("original-figure").hidden = true;
  draw($("decoded"), picture);
  const bpp = (8 * file.length) / (picture.width * picture.height);
  $("figures").textContent =
    `${name}: ${picture.width} × ${picture.height}, ${bytes(file.length)}, ` +
    `${bpp.toFixed(3)} bits per pixel, decoded in ${time(milliseconds)}`;
  $("decoded").toBlob((png) => {
    if (turn !== opened) return;
    offer(png, `${stem(name)}.png`);
    document.body.dataset.state = "done";
  });
}

async function showPicture(blob, name, turn) {
  const bitmap = await createImageBitmap(blob).catch(() => {
    throw new Error(`${name} is neither an .aec file nor a picture that this browser reads`);
  });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  // What is transparent is shown, and coded, on white.
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0);
  if (turn !== opened) return;
  const { width, height, data } = context.getImageData(0, 0, canvas.width, canvas.height);
  original = { picture: { width, height, data }, name, size: blob.size };
  draw($("original"), original.picture);
  $("controls").hidden = false;
  await compress();
}

let busy = false;
let again = false;

/** Compresses the original at the slider's quality; what the slider does in the
 *  meantime makes one more turn. */
async function compress() {
  again = true;
  if (busy) return;
  busy = true;
  try {
    while (again && original) {
      again = false;
      document.body.dataset.state = "busy";
      const { picture, name, size } = original;
      const result = await call("encode", { picture, quality: Number($("quality").value) });
      if (original?.picture !== picture) continue;
      draw($("decoded"), result.picture);
      const bpp = (8 * result.file.length) / (picture.width * picture.height);
      $("figures").textContent =
        `${name}: ${picture.width} × ${picture.height}, ${bytes(size)} → ${bytes(result.file.length)}, ` +
        `${bpp.toFixed(3)} bits per pixel, PSNR ${result.psnr.toFixed(2)} dB, ` +
        `encoded in ${time(result.encodeMilliseconds)}, decoded in ${time(result.milliseconds)}`;
      offer(new Blob([result.file], { type: "application/octet-stream" }), `${stem(name)}.aec`);
    }
    if (original) document.body.dataset.state = "done";
  } catch (error) {
    fail(error);
  } finally {
    busy = false;
  }
}

$("quality").addEventListener("input", () => {
  $("quality-value").textContent = $("quality").value;
  if (original) compress();
});
$("open").addEventListener("change", () => {
  const [file] = $("open").files;
  if (file) open(file, file.name);
  $("open").value = "";
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) open(file, file.name);
});

call("level").then(({ level }) => ($("level").textContent = `WebAssembly, ${level} instructions`), fail);

const parameters = new URLSearchParams(location.search);
if (parameters.has("quality")) {
  $("quality").value = parameters.get("quality");
  $("quality-value").textContent = $("quality").value;
}
if (parameters.has("open")) {
  const url = parameters.get("open");
  fetch(url)
    .then((response) => (response.ok ? response.blob() : Promise.reject(new Error(`${url}: ${response.status}`))))
    .then((blob) => open(blob, decodeURIComponent(url.split("/").pop())), fail);
}
