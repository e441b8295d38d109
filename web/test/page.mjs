// Opens the page in headless Chromium, drops real files on it, moves the slider
// and checks what it shows; with a second argument, leaves screenshots there.
//
//     node web/test/page.mjs chromium [FOLDER]
import { spawn, spawnSync } from "node:child_process";
import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const [browser = "chromium", shots] = process.argv.slice(2);
if (spawnSync(browser, ["--version"]).status !== 0) {
  console.log(`SKIPPED: ${browser} is missing (Debian: apt-get install chromium)`);
  process.exit(0);
}
const root = fileURLToPath(new URL("../..", import.meta.url));
// The page has the models that encoders use; the first is the usual one.
const [, newest] = readFileSync(join(root, "src/model/registry.rs"), "utf8").match(/models\/(\w+)\.aem/);
const parrot = `testdata/golden/parrot-${newest}-q40.aec`;
const bytes = statSync(join(root, parrot)).size;
const rate = ((8 * bytes) / 256 ** 2).toFixed(3).replace(".", "\\.");
const types = { html: "text/html", js: "text/javascript", css: "text/css", wasm: "application/wasm", png: "image/png" };
const server = createServer((request, response) => {
  const path = join(root, new URL(request.url, "http://localhost").pathname);
  if (!existsSync(path)) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": types[path.split(".").pop()] ?? "application/octet-stream" });
  createReadStream(path).pipe(response);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const page = `http://127.0.0.1:${server.address().port}/web/page/index.html`;

// Chromium, spoken to in its DevTools protocol over a pair of pipes.
const profile = mkdtempSync(join(tmpdir(), "aecodec-page-"));
const chromium = spawn(
  browser,
  ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000", "--remote-debugging-pipe", `--user-data-dir=${profile}`],
  { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] },
);
const closed = new Promise((resolve) => chromium.on("close", resolve));
chromium.stdio[3].on("error", () => {}); // a browser that is gone is found by what it no longer answers
const answers = new Map();
let received = "";
chromium.stdio[4].on("data", (data) => {
  const messages = (received + data).split("\0");
  received = messages.pop();
  for (const message of messages.map((text) => JSON.parse(text))) answers.get(message.id)?.(message);
});
let calls = 0;
function send(method, params = {}, sessionId) {
  const id = ++calls;
  chromium.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
  return new Promise((resolve, reject) =>
    answers.set(id, ({ result, error }) => (error ? reject(new Error(error.message)) : resolve(result))),
  );
}

const { targetId } = await send("Target.createTarget", { url: "about:blank" });
const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
async function evaluate(expression) {
  const parameters = { expression, awaitPromise: true, returnByValue: true };
  const { result, exceptionDetails } = await send("Runtime.evaluate", parameters, sessionId);
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
}

/** Waits until the page has dealt with a file and tells what it shows. */
async function settled() {
  for (let i = 0; i < 1200; i++) {
    const state = await evaluate("document.body?.dataset.state ?? 'loading'");
    if (state === "done" || state === "failed") {
      return await evaluate(`["figures", "error", "level"].map((id) => document.getElementById(id))
        .filter((element) => !element.hidden).map((element) => element.textContent).join(" | ")`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("the page does not finish");
}

const visit = async (query) => {
  await send("Page.navigate", { url: `${page}?${query}` }, sessionId);
  return settled();
};
/** Drops a file of this repository on the page, as a mouse would. */
const drop = async (path) => {
  await evaluate(`(async () => {
    const blob = await (await fetch(${JSON.stringify(path)})).blob();
    const data = new DataTransfer();
    data.items.add(new File([blob], ${JSON.stringify(path.split("/").pop())}));
    document.body.dataset.state = "busy";
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
  })()`);
  return settled();
};
const slide = async (quality) => {
  await evaluate(`document.body.dataset.state = "busy"; {
    const slider = document.getElementById("quality");
    slider.value = ${quality};
    slider.dispatchEvent(new Event("input"));
  }`);
  return settled();
};
const saved = () =>
  evaluate(`fetch(document.getElementById("save").href).then((r) => r.arrayBuffer()).then((b) => b.byteLength)`);

let passed = 0;
let failed = 0;
async function check(what, shown, expected) {
  const text = await shown;
  const good = expected.test(text);
  good ? passed++ : failed++;
  console.log(`${good ? "ok" : "FAILED"}: ${what}: ${text}`);
  if (shots) {
    const { data } = await send("Page.captureScreenshot", {}, sessionId);
    writeFileSync(join(shots, `page-${passed + failed}.png`), Buffer.from(data, "base64"));
  }
}

try {
  await check(
    "a link decodes an .aec file",
    visit(`open=/${parrot}`),
    new RegExp(`256 × 256, ${bytes} bytes, ${rate} bits per pixel, decoded in \\d+ ms.*simd128`),
  );
  await check(
    "a PNG that is dropped is compressed",
    drop("/testdata/images/kodim23.png"),
    /556\.9 kB → \d+\.\d kB, 0\.\d+ bits per pixel, PSNR 3\d\.\d\d dB/,
  );
  await check("the slider compresses again", slide(90), /→ \d+\.\d kB, 1\.\d+ bits per pixel, PSNR 4\d\.\d\d dB/);
  const length = await saved();
  await check("what can be saved is the file", slide(90), new RegExp(`→ ${(length / 1000).toFixed(1)} kB`));
  await check("a JPEG is compressed", drop("/testdata/odd/exif-orientation-6.jpg"), /bits per pixel, PSNR \d+\.\d\d dB/);
  await check("a text is no picture", drop("/web/page/style.css"), /neither an \.aec file nor a picture/);
  await check("an old model is missed by its name", drop("/testdata/golden/parrot-q60.aec"), /c697399f.*old-models/);
  await check("the page goes on after an error", drop(`/${parrot}`), new RegExp(`^parrot-${newest}-q40\\.aec: 256 × 256`));
} finally {
  server.close();
  chromium.stdio[3].write(JSON.stringify({ id: ++calls, method: "Browser.close" }) + "\0");
  const late = setTimeout(() => chromium.kill("SIGKILL"), 10_000);
  await closed;
  clearTimeout(late);
  // The browser's children may still be writing to the profile. That it stays
  // behind in the system's temporary folder is nothing the page has done wrong.
  try {
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  } catch (error) {
    console.log(`left behind: ${error.message}`);
  }
}
console.log(`page: ${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
