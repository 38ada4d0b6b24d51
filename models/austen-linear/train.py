#!/usr/bin/env python3
"""Fine-tunes models/austen so that its attention has a state of constant size, on a CPU.

    apt-get install r-cran-janeaustenr; Rscript ../austen/text.R texts     # the novels, one file each
    python train.py texts vq out                                           # about 20 minutes on two cores; needs torch and safetensors
    python train.py texts performer out

Both start from the softmax model's weights and see the same windows. `vq`: keys of the row's block of 64 positions and of the one before are
exact, older ones are one of 128 codes a key head, each with its count and mean value (Transformer-VQ). `performer`: positive random features,
128 a key head (FAVOR+). Windows begin at random positions below 65,536, so that nothing depends on where a text begins. The last 60,000 bytes are held out.
"""
import argparse, json, math, pathlib, time
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
LENGTH, WINDOWS, BLOCK, CODES, FEATURES, SEED, PEAK, WARM = 1024, 2, 64, 128, 128, 1811, 7e-4, 30
LAYERS, WIDTH, HEADS, GROUPS, SIZE, HIDDEN, EPS, THETA = 6, 192, 6, 2, 32, 512, 1e-5, 10000.0
FARTHEST = 65_536


def read(folder):
    text = b"\n\n".join(f.read_bytes() for f in sorted(pathlib.Path(folder).glob("*.txt")))
    data = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    return data[:-60_000], data[-60_000:]


def orthogonal(features, size, generator):
    """Rows of orthogonal blocks, each as long as a fresh Gaussian row."""
    blocks = []
    for _ in range(-(-features // size)):
        q, r = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
        blocks.append((q * r.diagonal().sign()).T)
    lengths = torch.randn(features, size, generator=generator, dtype=torch.float64).norm(dim=1)
    return (torch.cat(blocks)[:features] * lengths[:, None]).float()


def rotary(start, length):
    angle = (start + torch.arange(length, dtype=torch.float64))[:, None] * THETA ** (-torch.arange(0, SIZE, 2, dtype=torch.float64) / SIZE)
    return angle.cos().float(), angle.sin().float()


def turn(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def norm(x, weight):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * weight


def nearest(k, codes):
    """k [B, G, T, K], codes [G, N, K] -> the code of each key."""
    return (2 * k @ codes.mT - codes.square().sum(-1)[:, None]).argmax(-1)


def codebook_attention(q, k, v, codes):
    """q [B, G, R, T, K]; the value, and how far keys are from their codes."""
    B, G, T, _ = k.shape
    blocks, scale = T // BLOCK, SIZE ** -0.5
    z = nearest(k.detach(), codes.detach())
    quantised = codes.unsqueeze(0).expand(B, -1, -1, -1).gather(2, z[..., None].expand(-1, -1, -1, SIZE))
    apart = (quantised - k.detach()).square().mean() + 0.25 * (quantised.detach() - k).square().mean()
    used = F.one_hot(z, CODES).float().view(B, G, blocks, BLOCK, CODES)
    sums = used.mT @ v.view(B, G, blocks, BLOCK, SIZE)                                # of each block
    old = lambda x: torch.cat((torch.zeros_like(x[:, :, :2]), x[:, :, :-2].cumsum(2)), 2)     # of all blocks but the last two
    count, total = old(used.sum(3)), old(sums)
    far = (q * scale) @ codes[:, None].mT                                             # B G R T N
    far = far.view(*far.shape[:3], blocks, BLOCK, CODES)
    count = count[:, :, None, :, None]
    far = torch.where(count > 0, far + count.clamp(min=1).log(), -math.inf)
    before = lambda x: torch.cat((torch.cat((torch.zeros_like(x[:, :, :1]), x[:, :, :-1]), 2), x), 3)
    keys, values = (before(x.view(B, G, blocks, BLOCK, SIZE))[:, :, None] for x in (k, v))
    near = (q * scale).view(*q.shape[:3], blocks, BLOCK, SIZE) @ keys.mT
    i, j = torch.arange(BLOCK)[:, None], torch.arange(2 * BLOCK) - BLOCK
    seen = (j <= i) & ((j >= 0) | (torch.arange(blocks) > 0)[:, None, None])
    near = near.masked_fill(~seen, -math.inf)
    a = torch.cat((far, near), -1).softmax(-1)
    mean = (total / count.squeeze((2, 4)).clamp(min=1)[..., None])[:, :, None]
    o = a[..., :CODES] @ mean + a[..., CODES:] @ values
    return o.reshape(*q.shape[:3], T, SIZE), apart


def performer_attention(q, k, v, w):
    """Causal, by the quadratic form of the features, each key feature below its largest so far."""
    x, y = q * SIZE ** -0.25 @ w[:, None].mT, k * SIZE ** -0.25
    y = y @ w.mT - y.square().sum(-1, keepdim=True) / 2
    top = y.detach().amax((2, 3), keepdim=True)
    fq = (x - x.detach().amax(-1, keepdim=True)).exp() + 1e-12
    a = (fq @ (y - top).exp()[:, :, None].mT).tril()
    return a @ v[:, :, None] / a.sum(-1, keepdim=True), 0.0


class Model(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        stored = load_file(HERE.parent / "austen" / "model.safetensors")
        self.p = torch.nn.ParameterDict({n.replace(".", "/"): torch.nn.Parameter(t.float()) for n, t in stored.items()})
        generator = torch.Generator().manual_seed(SEED)
        for i in range(LAYERS):
            if kind == "vq":
                self.p[self.extra(i)] = torch.nn.Parameter(torch.zeros(GROUPS, CODES, SIZE))
            else:
                self.register_buffer(f"w{i}", torch.stack([orthogonal(FEATURES, SIZE, generator) for _ in range(GROUPS)]))

    def extra(self, i):
        return f"model/layers/{i}/self_attn/" + ("codebook" if self.kind == "vq" else "projection_matrix")

    def project(self, x, i, name):
        return x @ self.p[f"model/layers/{i}/{name}/weight"].T

    def layer(self, x, i, cos, sin, keys=None):
        B, T, _ = x.shape
        h = norm(x, self.p[f"model/layers/{i}/input_layernorm/weight"])
        q = turn(self.project(h, i, "self_attn/q_proj").view(B, T, GROUPS, -1, SIZE).permute(0, 2, 3, 1, 4), cos, sin)
        k = turn(self.project(h, i, "self_attn/k_proj").view(B, T, GROUPS, SIZE).transpose(1, 2), cos, sin)
        v = self.project(h, i, "self_attn/v_proj").view(B, T, GROUPS, SIZE).transpose(1, 2)
        if keys is not None:
            keys.append(k)
        if self.kind == "vq":
            o, apart = codebook_attention(q, k, v, self.p[self.extra(i)])
        else:
            o, apart = performer_attention(q, k, v, getattr(self, f"w{i}"))
        x = x + self.project(o.permute(0, 3, 1, 2, 4).reshape(B, T, WIDTH), i, "self_attn/o_proj")
        h = norm(x, self.p[f"model/layers/{i}/post_attention_layernorm/weight"])
        h = F.silu(self.project(h, i, "mlp/gate_proj")) * self.project(h, i, "mlp/up_proj")
        return x + self.project(h, i, "mlp/down_proj"), apart

    def forward(self, ids, start=0):
        x, apart = self.p["model/embed_tokens/weight"][ids], 0.0
        cos, sin = rotary(start, ids.shape[1])
        for i in range(LAYERS):
            x, d = self.layer(x, i, cos, sin)
            apart = apart + d
        return norm(x, self.p["model/norm/weight"]) @ self.p["model/embed_tokens/weight"].T, apart

    @torch.no_grad()
    def place_codes(self, data, windows=16, rounds=10):
        """k-means of each layer's keys, in order: those of a layer come from layers that are quantised already."""
        ids, starts = sample(data, windows)
        x = [self.p["model/embed_tokens/weight"][w][None] for w in ids]
        for i in range(LAYERS):
            keys = []
            for n in range(windows):
                self.layer(x[n], i, *rotary(starts[n], LENGTH), keys)
            flat = torch.cat(keys).transpose(0, 1).reshape(GROUPS, -1, SIZE)
            codes = flat[:, torch.randperm(flat.shape[1])[:CODES]].clone()
            for _ in range(rounds):
                z = nearest(flat[None], codes)[0]
                for g in range(GROUPS):
                    n = torch.bincount(z[g], minlength=CODES)
                    s = torch.zeros(CODES, SIZE).index_add_(0, z[g], flat[g])
                    codes[g] = torch.where(n[:, None] > 0, s / n.clamp(min=1)[:, None], codes[g])
            self.p[self.extra(i)].copy_(codes)
            x = [self.layer(x[n], i, *rotary(starts[n], LENGTH))[0] for n in range(windows)]

    def save(self, out):
        out.mkdir(parents=True, exist_ok=True)
        tensors = {n.replace("/", "."): t.detach().bfloat16().contiguous() for n, t in self.p.items()}
        config = json.loads((HERE.parent / "austen" / "config.json").read_text())
        config.update(max_position_embeddings=1_048_576, dtype="bfloat16")
        if self.kind == "vq":
            config.update(attention_kernel="codebook", attention_codes=CODES, attention_block=BLOCK)
        else:
            config.update(attention_kernel="performer", attention_features=FEATURES)
            tensors |= {self.extra(i).replace("/", "."): getattr(self, f"w{i}") for i in range(LAYERS)}
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
        (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def sample(data, windows):
    at = torch.randint(len(data) - LENGTH, (windows,))
    return torch.stack([data[i:i + LENGTH] for i in at]), torch.randint(FARTHEST, (windows,)).tolist()


def loss_of(model, ids, start):
    logits, apart = model(ids, start)
    return F.cross_entropy(logits[:, :-1].reshape(-1, 256), ids[:, 1:].reshape(-1)), apart


@torch.no_grad()
def held_out(model, held, length, windows):
    """Bits per byte on windows of the held-out text."""
    rows = held[: windows * length].view(-1, length)
    return sum(loss_of(model, b, 0)[0].item() * len(b) for b in rows.split(4)) / len(rows) / math.log(2)


def train(model, data, held, steps, out):
    codes = [p for n, p in model.p.items() if "codebook" in n]
    others = [p for n, p in model.p.items() if "codebook" not in n]
    optimizer = torch.optim.AdamW([{"params": [p for p in others if p.dim() > 1], "weight_decay": 0.1}, {"params": [p for p in others if p.dim() < 2] + codes, "weight_decay": 0.0}],
                                  betas=(0.9, 0.98))
    begin = time.time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = PEAK * min(1, (step + 1) / WARM) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        ids, starts = sample(data, WINDOWS)
        loss, apart = loss_of(model, ids, starts[0])
        (loss + 0.1 * apart).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(); optimizer.zero_grad(set_to_none=True)
        if step % 100 == 99 or step == steps - 1:
            print(f"{step + 1} steps, {time.time() - begin:.0f} s, loss {loss.item() / math.log(2):.3f}, held-out {held_out(model, held, 512, 40):.4f} (512), "
                  f"{held_out(model, held, LENGTH, 20):.4f} ({LENGTH}) bits per byte", flush=True)
            model.save(out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("texts"); p.add_argument("kind", choices=("vq", "performer")); p.add_argument("out", type=pathlib.Path); p.add_argument("--steps", type=int, default=400)
    a = p.parse_args()
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    data, held = read(a.texts)
    model = Model(a.kind)
    if a.kind == "vq":
        model.place_codes(data)
    print(f"before: {held_out(model, held, 512, 40):.4f} (512), {held_out(model, held, LENGTH, 20):.4f} ({LENGTH}) bits per byte", flush=True)
    train(model, data, held, a.steps, a.out)


if __name__ == "__main__":
    main()
