"""Decoders: each is reset(), prompt(ids) -> logits [V], step(token) -> logits [V]."""

import json

import formats
import models
import numpy as np
from libraries import THREADS, read_inputs, start_torch, work


def decoder_torch(model, positions, precision="float32", compiled=False):
    torch = start_torch()
    from transformers import AutoModelForCausalLM, StaticCache

    attention = "eager" if precision == "float64" else "sdpa"
    network = AutoModelForCausalLM.from_pretrained(
        models.checkpoint(model), attn_implementation=attention, dtype=getattr(torch, precision)
    ).eval()
    cache = StaticCache(config=network.config, max_cache_len=positions)
    one = torch.compile(network, dynamic=False) if compiled else network
    filled = 0

    def forward(network, ids):
        nonlocal filled
        at = torch.arange(filled, filled + len(ids))
        filled += len(ids)
        return (
            network(
                input_ids=torch.tensor(ids)[None],
                past_key_values=cache,
                position_ids=at[None],
                use_cache=True,
                logits_to_keep=1,
            )
            .logits[0, -1]
            .numpy()
        )

    def reset():
        nonlocal filled
        filled = 0
        cache.reset()

    return reset, lambda ids: forward(network, ids), lambda token: forward(one, [token])


def decoder_llamacpp(model, positions, quant, as_shipped=False):
    """Flash attention off and f32 cache, for only so is it fp32 throughout; as_shipped: its defaults (flash attention,
    f16 cache).
    """
    import ctypes, llama_cpp

    llama_cpp.llama_backend_init()
    network = llama_cpp.llama_model_load_from_file(
        str(formats.llama_gguf(model, quant)).encode(), llama_cpp.llama_model_default_params()
    )
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = max(positions, 256), 512, 512
    settings.n_threads = settings.n_threads_batch = THREADS
    if not as_shipped:
        settings.type_k = settings.type_v = llama_cpp.GGML_TYPE_F32
        settings.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    context = llama_cpp.llama_init_from_model(network, settings)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(network))

    def forward(ids):
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        failed = llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(ids)))
        assert not failed, "llama_decode"
        logits = ctypes.cast(llama_cpp.llama_get_logits_ith(context, -1), ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(logits, (vocabulary,)).copy()

    return (
        lambda: llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True),
        forward,
        lambda token: forward([token]),
    )


def decoder_genai(model, positions):
    import onnxruntime_genai

    settings = onnxruntime_genai.Config(str(formats.llama_genai(model)))
    settings.overlay(
        json.dumps(
            {"model": {"decoder": {"session_options": {"intra_op_num_threads": THREADS, "inter_op_num_threads": 1}}}}
        )
    )
    network = onnxruntime_genai.Model(settings)
    options = onnxruntime_genai.GeneratorParams(network)
    options.set_search_options(max_length=positions, do_sample=False)
    generator = None

    def reset():
        nonlocal generator
        generator = onnxruntime_genai.Generator(network, options)

    def forward(ids):
        generator.append_tokens(np.asarray(ids, np.int32))
        return generator.get_logits().reshape(-1).copy()

    return reset, forward, lambda token: forward([token])


def decode_with(decoder, **options):
    def load(inputs, model, prompt, steps, quant, **_):
        if decoder is not decoder_llamacpp and quant != "f32":
            raise ValueError(f"no {quant} here")
        chosen = dict(options, quant=quant) if decoder is decoder_llamacpp else options
        reset, read_prompt, step = decoder(model, prompt + steps, **chosen)
        data, logits = [ids.tolist() for ids, in read_inputs(inputs, "ids")], None

        def before(i):
            nonlocal logits
            reset()
            if steps:
                logits = read_prompt(data[i])

        def call(i):
            if not steps:
                return [read_prompt(data[i])]
            rows, token = [], int(logits.argmax())
            for _ in range(steps):
                rows.append(step(token))
                token = int(rows[-1].argmax())
            return rows

        return work(call, before, np.stack)

    return load
