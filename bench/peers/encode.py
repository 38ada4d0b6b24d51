"""The last hidden state of an encoder; inputs ids and mask [B, S]."""

import formats
import models
from libraries import onnx_session, openvino_request, read_inputs, start_torch, work


def encode_torch(inputs, model, precision="float32", compiled=False, autotune=False, **_):
    torch = start_torch(compiled, autotune)
    from transformers import AutoModel

    attention = "eager" if precision == "float64" else "sdpa"
    encoder = AutoModel.from_pretrained(
        models.checkpoint(model), attn_implementation=attention, dtype=getattr(torch, precision)
    ).eval()
    data = [[torch.from_numpy(x) for x in pair] for pair in read_inputs(inputs, "ids", "mask")]
    forward = torch.compile(encoder, dynamic=False) if compiled else encoder
    return work(lambda i: forward(input_ids=data[i][0], attention_mask=data[i][1]).last_hidden_state.numpy())


def encode_onnxruntime(inputs, model, fused=False, **_):
    session = onnx_session(str(formats.encoder_onnx(model, fused)), cachable=True)
    data = [dict(zip(("input_ids", "attention_mask"), pair)) for pair in read_inputs(inputs, "ids", "mask")]
    return work(lambda i: session.run(None, data[i])[0])


def encode_openvino(inputs, model, B, S, **_):
    import openvino

    graph = openvino.Core().read_model(str(formats.encoder_onnx(model)))
    graph.reshape({"input_ids": [B, S], "attention_mask": [B, S]})
    request, data = openvino_request(graph), read_inputs(inputs, "ids", "mask")
    return work(lambda i: request.infer(data[i], share_inputs=True, share_outputs=True)[0])
