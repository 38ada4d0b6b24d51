// The page: hands what is asked for to the worker, and shows what comes back as it comes.
'use strict';

const at = (id) => document.getElementById(id);
const text = document.createTextNode('');
let state = 'loading'; // then ready, writing, ready ..., or failed

function now(next, status) {
  state = next;
  at('write').disabled = state !== 'ready';
  at('stop').disabled = state !== 'writing';
  document.body.dataset.state = state;
  at('status').textContent = status;
}

function failed(why) {
  now('failed', '');
  at('error').textContent = why;
  at('error').hidden = false;
}

const said = {
  loading: ({ have, bytes }) => now('loading', `loading the weights: ${Math.round((100 * have) / bytes)} %`),
  ready: ({ bytes }) => now('ready', `ready: ${(bytes / 1e6).toFixed(1)} MB of weights`),
  token(message) {
    text.appendData(message.text);
    const speed = message.made > 1 ? `, ${Math.round((message.made - 1) / message.seconds)} tokens per second` : '';
    at('status').textContent = `${message.made} tokens${speed}`;
  },
  end: ({ why }) => now('ready', [at('status').textContent, why].filter(Boolean).join('; ')),
  failed: ({ why }) => failed(why),
};

at('text').append(at('given'), text);
for (const id of ['temperature', 'topK']) {
  const show = () => (at(`${id}-value`).textContent = +at(id).value || { temperature: 'none', topK: 'all' }[id]);
  at(id).addEventListener('input', show);
  show();
}

function start() {
  if (location.protocol === 'file:') throw new Error('this page has to come from a web server: python3 -m http.server -d FOLDER');
  const worker = new Worker('worker.js', { type: 'module' });
  worker.onmessage = ({ data }) => said[data.kind](data);
  worker.onerror = (event) => failed(event.message || 'worker.js or sample.js could not be loaded');
  at('form').addEventListener('submit', (event) => {
    event.preventDefault();
    if (state !== 'ready') return;
    now('writing', '');
    at('given').textContent = at('prompt').value;
    text.data = '';
    const number = (id) => +at(id).value;
    worker.postMessage({
      prompt: at('prompt').value,
      count: number('count'),
      temperature: number('temperature'),
      topK: number('topK'),
      seed: number('seed'),
    });
  });
  at('stop').addEventListener('click', () => worker.postMessage({ stop: true }));
}

try {
  start();
} catch (error) {
  failed(error.message);
}
