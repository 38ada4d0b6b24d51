#!/usr/bin/env python3
"""Continues a text with a built model, always with the likeliest byte: write.c by ctypes and the shared library, Python's standard library alone.

    attar build models/llama.attar --weights models/austen --lib -o out
    python3 examples/write.py out "It is a truth" 200
"""
import ctypes
import mmap
import sys
from ctypes import POINTER, Structure, byref, c_float, c_int32, c_int64, c_size_t, c_void_p


class Dims(Structure):
    _fields_ = [("B", c_int64), ("S", c_int64)]


class Inputs(Structure):
    _fields_ = [("ids", POINTER(c_int32))]


class Outputs(Structure):
    _fields_ = [("logits", POINTER(c_float))]


class Writer:
    def __init__(self, folder):
        self.lib = lib = ctypes.CDLL(f"{folder}/libllama.so")
        for name in "model_size", "cache_size", "cache_bytes", "arena_bytes":
            getattr(lib, f"llama_{name}").restype = c_size_t
        lib.llama_error_text.restype = ctypes.c_char_p
        with open(f"{folder}/llama.weights", "rb") as file:
            self.weights = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # ctypes wants it writable; nobody writes
        data = (ctypes.c_char * len(self.weights)).from_buffer(self.weights)
        self.model = ctypes.create_string_buffer(lib.llama_model_size())
        self.check(lib.llama_open(self.model, data, c_size_t(len(data))))
        self.cache = ctypes.create_string_buffer(lib.llama_cache_size())
        need = lib.llama_cache_bytes(self.model, c_int64(1))
        self.memory = ctypes.create_string_buffer(need)
        self.check(lib.llama_cache_open(self.model, self.cache, self.memory, c_size_t(need), c_int64(1)))

    def check(self, error):
        if error:
            raise RuntimeError(self.lib.llama_error_text(error).decode())

    def next(self, text):
        """Takes the bytes in and gives the one that goes on best."""
        dims = Dims(1, len(text))
        need = self.lib.llama_arena_bytes(self.model, byref(dims))
        if not need:
            raise ValueError(f"a text of {len(text)} bytes")
        ids, logits = (c_int32 * len(text))(*text), (c_float * (256 * len(text)))()
        arena = ctypes.create_string_buffer(need)
        self.check(self.lib.llama_step(self.model, self.cache, arena, c_size_t(need), byref(Inputs(ids)), byref(dims),
                                       byref(Outputs(logits))))
        last = logits[-256:]
        return bytes([last.index(max(last))])


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: write.py FOLDER TEXT COUNT")
    folder, prompt, count = sys.argv[1:]
    writer, text = Writer(folder), prompt.encode()
    sys.stdout.buffer.write(text)
    for _ in range(int(count)):
        text = writer.next(text)
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    print()


if __name__ == "__main__":
    try:
        main()
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(str(error))
