// Owns the compiled model (model.wasm) and its weights, and writes; the page stays free. What it says to the page:
// loading, ready, token, end, and failed when nothing more will come.
import { sampler } from './sample.js';

const SLICE = 16; // milliseconds of writing between two looks at what the page wants
let model; // what model.wasm exports
let end_tokens = []; // tokens that end a text
let stopped = true;

const say = (kind, more) => postMessage({ kind, ...more });

// ---- loading -----------------------------------------------------------------------------------------------------------

// A function that returns a vector: () -> v128, i32x4.splat(0).
const VECTORS = Uint8Array.of(
  0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0, // "\0asm", version 1
  1, 5, 1, 0x60, 0, 1, 0x7b, // type 0: () -> v128
  3, 2, 1, 0, // function 0 has type 0
  10, 8, 1, 6, 0, 0x41, 0, 0xfd, 0x11, 0x0b, // i32.const 0; i32x4.splat; end
);

/** What goes wrong with a file names it. */
async function with_name(file, promise) {
  try {
    return await promise;
  } catch (error) {
    throw new Error(`${file}: ${error.message}`);
  }
}

async function get(file) {
  const answer = await with_name(file, fetch(file));
  if (!answer.ok) throw new Error(`${file}: ${answer.status} ${answer.statusText}`);
  return answer;
}

/** The text of an error of the model's functions; 0 is none. */
function check(error, what) {
  if (!error) return;
  const bytes = new Uint8Array(model.memory.buffer, model.error_text(error));
  throw new Error(`${what}: ${new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)))}`);
}

/** The weights, straight into the model's memory as they arrive. */
async function load_weights(answer) {
  const bytes = model.weights_bytes();
  const address = model.room(bytes);
  if (!address) throw new Error('the browser gives no memory for the weights');
  const place = new Uint8Array(model.memory.buffer, address, bytes);
  const reader = answer.body.getReader();
  let have = 0;
  while (have < bytes) {
    const { done, value } = await with_name('model.weights', reader.read());
    if (done) break;
    const part = value.subarray(0, bytes - have);
    place.set(part, have);
    have += part.length;
    say('loading', { have, bytes });
  }
  check(model.start(address, have), 'model.weights');
  if (!model.prepare()) throw new Error('the browser gives no memory for the model to work in');
  return bytes;
}

async function load() {
  if (typeof WebAssembly === 'undefined') throw new Error('this browser has no WebAssembly, or it is switched off');
  if (!WebAssembly.validate(VECTORS))
    throw new Error('this browser, or this processor, has no WebAssembly SIMD: Chrome 91, Firefox 89, Safari 16.4 and later have it');
  const [config, code, weights] = await Promise.all([
    get('config.json').then((answer) => with_name('config.json', answer.json())),
    get('model.wasm').then((answer) => with_name('model.wasm', answer.arrayBuffer())),
    get('model.weights'),
  ]);
  model = (await with_name('model.wasm', WebAssembly.instantiate(code))).instance.exports; // it imports nothing
  if (config.tokenizer !== 'bytes' || config.vocab_size !== model.vocabulary())
    throw new Error('config.json: the tokens of this model are not the bytes of text');
  end_tokens = [config.eos_token_id ?? []].flat();
  return load_weights(weights);
}

// ---- writing -----------------------------------------------------------------------------------------------------------

/** Takes the tokens in; the logits of what comes next. */
function step(tokens) {
  new Int32Array(model.memory.buffer, model.tokens(), tokens.length).set(tokens);
  check(model.step(tokens.length), 'the model');
  return new Float32Array(model.memory.buffer, model.logits(), model.vocabulary());
}

/** Lets messages in: one to ourselves comes after those that wait. */
const turn = new MessageChannel();
const others = () =>
  new Promise((go_on) => {
    turn.port1.onmessage = go_on;
    turn.port2.postMessage(null);
  });

/** Why it ended. A token is a byte of UTF-8 text. */
async function write({ prompt, count, ...how }) {
  const tokens = new TextEncoder().encode(prompt);
  const longest = model.longest();
  if (!tokens.length) return 'there is nothing to continue';
  if (tokens.length > longest) return `the text to continue has ${tokens.length} bytes, and this model holds ${longest}`;
  const choose = sampler(how);
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true }); // keeps half a character until the rest of it is there
  check(model.restart(), 'the model');
  let logits = step(tokens);
  const begun = performance.now();
  let looked = begun;
  for (let made = 1; ; made++) {
    const token = choose(logits);
    if (end_tokens.includes(token)) return 'the model ended its text';
    const full = model.length() === longest;
    const over = made >= count || full;
    const text = decoder.decode(Uint8Array.of(token), { stream: !over });
    say('token', { text, made, seconds: (performance.now() - begun) / 1000 });
    if (over) return made < count ? `the cache is full: this model holds ${longest} positions` : 'done';
    if (performance.now() - looked > SLICE) {
      await others();
      looked = performance.now();
    }
    if (stopped) return 'stopped';
    logits = step([token]);
  }
}

const failed = (error) => say('failed', { why: error.message });

onmessage = ({ data }) => {
  stopped = Boolean(data.stop);
  if (!stopped) write(data).then((why) => say('end', { why }), failed);
};

load().then((bytes) => say('ready', { bytes }), failed);
