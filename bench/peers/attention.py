"""One fused attention; inputs q [1, H, L, D], k and v [1, G, L, D]."""

import numpy as np
from libraries import onnx_session, openvino_request, read_inputs, start_torch, work


def allowed(mask, window, documents, L):
    """mask as a rule on query position q and key position k, for scalars, arrays and tensors alike; None for full."""
    return {
        "full": None,
        "causal": lambda q, k: k <= q,
        "window": lambda q, k: (k <= q) & (k > q - window),
        "document": lambda q, k: (k <= q) & (q * documents // L == k * documents // L),
    }[mask]


CAP = 50.0  # of score=softcap: s becomes CAP * tanh(s / CAP)


def slopes(H):
    """ALiBi's: 2^(-8 / n) and so on for n heads; if n is no power of two, those of the power below, then every other
    one of the power above.
    """
    below = 1 << (H.bit_length() - 1)
    first = 2.0 ** (-8.0 / below * np.arange(1, below + 1))
    return np.concatenate([first, 2.0 ** (-4.0 / below * np.arange(1, 2 * (H - below), 2))])


def alibi(H, L):
    """Added to the scores, with what is masked at minus infinity: float32 [1, H, L, L]."""
    at = np.arange(L)
    bias = slopes(H)[:, None, None] * (at[None, None, :] - at[None, :, None])
    return np.where(at[None, :] <= at[:, None], bias, -np.inf).astype(np.float32)[None]


def dense(rule, L):
    return rule(np.arange(L)[:, None], np.arange(L)[None, :])


def attention_reference(inputs, H, G, L, mask, score, window, documents, **_):
    (q, k, v), rule, rows = read_inputs(inputs, "q", "k", "v")[0], allowed(mask, window, documents, L), 512

    def call(_):
        out = np.empty(q.shape)
        for h in range(H):
            keys, values = (x[0, h * G // H].astype(np.float64) for x in (k, v))
            for a in range(0, L, rows):
                s = q[0, h, a : a + rows].astype(np.float64) @ keys.T / np.sqrt(q.shape[-1])
                if score == "softcap":
                    s = CAP * np.tanh(s / CAP)
                if score == "alibi":
                    s += slopes(H)[h] * (np.arange(L)[None, :] - np.arange(a, min(a + rows, L))[:, None])
                if rule:
                    s = np.where(rule(np.arange(a, min(a + rows, L))[:, None], np.arange(L)[None, :]), s, -np.inf)
                p = np.exp(s - s.max(-1, keepdims=True))
                out[0, h, a : a + rows] = p @ values / p.sum(-1, keepdims=True)
        return out

    return work(call)


def attention_torch(inputs, H, G, L, mask, score, window, documents, **_):
    if score == "softcap":
        raise ValueError("scaled_dot_product_attention has no soft cap")
    torch = start_torch()
    data = [[torch.from_numpy(x) for x in case] for case in read_inputs(inputs, "q", "k", "v")]
    table = torch.from_numpy(dense(allowed(mask, window, documents, L), L)) if mask in ("window", "document") else None
    if score == "alibi":
        table = torch.from_numpy(alibi(H, L))
    causal = mask == "causal" and table is None
    attend = torch.nn.functional.scaled_dot_product_attention
    return work(lambda i: attend(*data[i], attn_mask=table, is_causal=causal, enable_gqa=G != H).numpy())


def attention_flex(inputs, H, G, L, mask, score, window, documents, **_):
    torch = start_torch(compiled=True)
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    data = [[torch.from_numpy(x) for x in case] for case in read_inputs(inputs, "q", "k", "v")]
    rule = allowed(mask, window, documents, L)
    blocks = create_block_mask(lambda b, h, q, k: rule(q, k), None, None, L, L, device="cpu") if rule else None
    slope = torch.from_numpy(slopes(H).astype(np.float32))
    change = {
        "plain": None,
        "softcap": lambda s, b, h, q, k: CAP * torch.tanh(s / CAP),
        "alibi": lambda s, b, h, q, k: s + slope[h] * (k - q),
    }[score]
    attend = torch.compile(flex_attention, dynamic=False)
    return work(lambda i: attend(*data[i], score_mod=change, block_mask=blocks, enable_gqa=G != H).numpy())


def attention_onnxruntime(inputs, H, G, L, D, mask, score, window, documents, **_):
    """MultiHeadAttention for full and document masks, GroupQueryAttention (always causal) for the others; q, k, v as
    [1, L, heads*D].
    """
    from onnx import TensorProto, helper

    data = [
        {n: np.ascontiguousarray(x.transpose(0, 2, 1, 3).reshape(1, L, -1)) for n, x in zip("qkv", case)}
        for case in read_inputs(inputs, "q", "k", "v")
    ]
    shapes, constants, outputs = {"q": [1, L, H * D], "k": [1, L, G * D], "v": [1, L, G * D]}, [], ["y"]
    if mask in ("full", "document") or score == "alibi":
        if G != H:
            raise ValueError("MultiHeadAttention has no grouped heads")
        names = ["q", "k", "v"]
        if mask == "document" or score == "alibi":
            if score == "alibi":
                bias = np.maximum(alibi(H, L), -1e9)
            else:
                bias = np.where(dense(allowed(mask, window, documents, L), L), 0, -1e9).astype(np.float32)[None, None]
            constants, names = [
                helper.make_tensor("bias", TensorProto.FLOAT, bias.shape, bias.tobytes(), raw=True)
            ], names + ["", "", "bias"]
        node = helper.make_node("MultiHeadAttention", names, outputs, domain="com.microsoft", num_heads=H)
    else:
        constants = [
            helper.make_tensor("last", TensorProto.INT32, [1], [L - 1]),
            helper.make_tensor("total", TensorProto.INT32, [1], [L]),
        ]
        outputs = ["y", "keys", "values"]
        local = {"local_window_size": window} if mask == "window" else {}
        if score == "softcap":
            local["softcap"] = CAP
        node = helper.make_node(
            "GroupQueryAttention",
            ["q", "k", "v", "", "", "last", "total"],
            outputs,
            domain="com.microsoft",
            num_heads=H,
            kv_num_heads=G,
            **local
        )
    graph = helper.make_graph(
        [node],
        "attention",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        constants,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=10
    )
    session = onnx_session(model.SerializeToString())
    return work(lambda i: session.run(["y"], data[i])[0], finish=lambda y: y.reshape(1, L, H, D).transpose(0, 2, 1, 3))


def attention_openvino(inputs, H, G, L, D, mask, score, window, documents, **_):
    if score == "softcap":
        raise ValueError("ScaledDotProductAttention has no soft cap")
    import openvino
    from openvino import opset13 as ops

    query, key, value = parameters = [ops.parameter([1, n, L, D], np.float32) for n in (H, G, G)]
    if G != H:

        def spread(x):
            wide = ops.broadcast(ops.unsqueeze(x, ops.constant([2])), ops.constant([1, G, H // G, L, D]))
            return ops.reshape(wide, ops.constant([1, H, L, D]), False)

        key, value = spread(key), spread(value)
    table = (
        ops.constant(dense(allowed(mask, window, documents, L), L)[None, None])
        if mask in ("window", "document")
        else None
    )
    if score == "alibi":
        table = ops.constant(alibi(H, L))
    causal = mask == "causal" and table is None
    result = ops.scaled_dot_product_attention(query, key, value, *([table] if table else []), causal=causal)
    request, data = openvino_request(openvino.Model([result], parameters)), read_inputs(inputs, "q", "k", "v")
    return work(lambda i: request.infer(data[i], share_inputs=True, share_outputs=True)[0])
