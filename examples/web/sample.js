// The next token from logits: the likeliest, or one drawn from the softmax. The draws are those of `attar generate` with
// the same temperature, top-k and seed.

/** Numbers in [0, 1), the same for the same seed: splitmix64. */
function* draws(seed) {
  const low64 = (x) => BigInt.asUintN(64, x);
  for (let state = BigInt(seed); ; ) {
    state = low64(state + 0x9e3779b97f4a7c15n);
    let z = low64((state ^ (state >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = low64((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    yield Number((z ^ (z >> 31n)) >> 11n) / 2 ** 53;
  }
}

/** The place of the largest, the first of equals. */
const largest = (logits) => logits.reduce((best, x, i) => (x > logits[best] ? i : best), 0);

/** A function from logits to a token. Temperature 0: the likeliest. topK 0: all are drawn from, else the topK likeliest. */
export function sampler({ temperature, topK, seed }) {
  if (temperature === 0) return largest;
  const unit = draws(seed);
  return (logits) => {
    const least = topK > 0 && topK < logits.length ? logits.slice().sort()[logits.length - topK] : -Infinity;
    const best = largest(logits);
    const chances = Array.from(logits, (x) => (x < least ? 0 : Math.exp((x - logits[best]) / temperature)));
    let left = unit.next().value * chances.reduce((sum, x) => sum + x, 0);
    const drawn = chances.findIndex((chance) => (left -= chance) < 0);
    return drawn < 0 ? best : drawn;
  };
}
