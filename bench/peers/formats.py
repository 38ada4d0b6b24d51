"""Other formats of the same weights: ONNX, GGUF, the folder of ONNX Runtime GenAI."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from models import CACHE, checkpoint, sizes


def encoder_onnx(name, fused=False):
    """ONNX export with symbolic batch and length. fused: after ONNX Runtime's transformers optimizer (Attention,
    SkipLayerNorm, BiasGelu).
    """
    path = CACHE / f"{name}{'-fused' if fused else ''}.onnx"
    if path.exists():
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    if fused:
        from onnxruntime.transformers import optimizer

        s = sizes(name)
        model = optimizer.optimize_model(
            str(encoder_onnx(name)), model_type="bert", num_heads=s["H"], hidden_size=s["D"], opt_level=0
        )
        found = model.get_fused_operator_statistics()
        assert found["Attention"] == s["N"], f"the optimizer fused {found['Attention']} of {s['N']} attentions"
        model.save_model_to_file(str(path))
        return path
    import torch, transformers

    encoder = transformers.AutoModel.from_pretrained(
        checkpoint(name), attn_implementation="eager", dtype=torch.float32
    ).eval()

    class Hidden(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder

        def forward(self, input_ids, attention_mask):
            return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state

    example, names = torch.ones(2, 16, dtype=torch.int64), ["input_ids", "attention_mask"]
    torch.onnx.export(
        Hidden(),
        (example, example),
        str(path),
        input_names=names,
        output_names=["hidden"],
        opset_version=17,
        dynamo=False,
        dynamic_axes={n: {0: "B", 1: "S"} for n in names + ["hidden"]},
    )
    return path


def llama_gguf(name, quant):
    """GGUF of a Llama checkpoint, quant f32 or q8_0, through the gguf package. q and k rows are reordered for
    interleaved rotation.
    """
    path = CACHE / f"{name}-{quant}.gguf"
    if path.exists():
        return path
    import gguf
    from safetensors.numpy import load_file

    c, weights = json.loads((checkpoint(name) / "config.json").read_text()), load_file(
        checkpoint(name) / "model.safetensors"
    )
    heads, kv_heads, layers = c["num_attention_heads"], c["num_key_value_heads"], c["num_hidden_layers"]
    temporary = path.with_suffix(".part")
    out = gguf.GGUFWriter(temporary, "llama")
    out.add_context_length(c["max_position_embeddings"])
    out.add_embedding_length(c["hidden_size"])
    out.add_block_count(layers)
    out.add_feed_forward_length(c["intermediate_size"])
    out.add_head_count(heads)
    out.add_head_count_kv(kv_heads)
    out.add_layer_norm_rms_eps(c["rms_norm_eps"])
    out.add_rope_dimension_count(c["hidden_size"] // heads)
    out.add_rope_freq_base(10000.0)
    out.add_vocab_size(c["vocab_size"])
    out.add_tokenizer_model("llama")
    out.add_token_list([f"<{i}>" for i in range(c["vocab_size"])])
    out.add_token_scores([0.0] * c["vocab_size"])
    out.add_token_types([1] * c["vocab_size"])
    kind = gguf.GGMLQuantizationType.Q8_0 if quant == "q8_0" else gguf.GGMLQuantizationType.F32

    def put(name, x):
        if x.ndim == 2 and quant != "f32":
            out.add_tensor(name, gguf.quants.quantize(x, kind), raw_dtype=kind)
        else:
            out.add_tensor(name, np.ascontiguousarray(x))

    def interleaved(x, heads):
        return x.reshape(heads, 2, x.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(x.shape)

    put("token_embd.weight", weights["model.embed_tokens.weight"])
    put("output_norm.weight", weights["model.norm.weight"])
    put("output.weight", weights["lm_head.weight"])
    names = {
        "input_layernorm": "attn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    rotated = {"attn_q": heads, "attn_k": kv_heads}
    for i in range(layers):
        for theirs, ours in names.items():
            x = weights[f"model.layers.{i}.{theirs}.weight"]
            put(f"blk.{i}.{ours}.weight", interleaved(x, rotated[ours]) if ours in rotated else x)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    temporary.rename(path)
    return path


def llama_genai(name):
    """The folder ONNX Runtime GenAI reads, fp32 for CPU, made by its own model builder (which insists on a tokenizer: a
    word list stands in).
    """
    folder = CACHE / f"{name}-genai"
    if (folder / "genai_config.json").exists():
        return folder
    from tokenizers import Tokenizer, models as token_models

    words = {f"<{i}>": i for i in range(sizes(name)["V"])}
    with tempfile.TemporaryDirectory() as source:
        for file in ("config.json", "model.safetensors"):
            os.symlink(checkpoint(name) / file, f"{source}/{file}")
        Tokenizer(token_models.WordLevel(words, unk_token="<0>")).save(f"{source}/tokenizer.json")
        pathlib.Path(source, "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<1>", "eos_token": "<2>"})
        )
        subprocess.run(
            [
                sys.executable,
                "-m",
                "onnxruntime_genai.models.builder",
                "-i",
                source,
                "-o",
                str(folder),
                "-p",
                "fp32",
                "-e",
                "cpu",
                "-c",
                f"{source}/cache",
                "--extra_options",
                "hf_remote=false",
            ],
            check=True,
            stdout=sys.stderr,
        )
    return folder
