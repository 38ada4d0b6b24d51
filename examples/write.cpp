// Continues a text with a built model, always with the likeliest byte: write.c in C++, where memory frees itself and errors are exceptions.
//
//     attar build models/llama.attar --weights models/austen --lib -o out
//     c++ -O2 -std=c++17 -Iout examples/write.cpp out/libllama.a -lm -o write
//     ./write out/llama.weights "It is a truth" 200
#include <algorithm>
#include <cstddef>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama.h"

class Writer {
public:
    explicit Writer(const std::string &path)
    {
        std::ifstream file(path, std::ios::binary | std::ios::ate);
        if (!file)
            throw std::runtime_error(path + ": cannot be read");
        const auto bytes = static_cast<std::size_t>(file.tellg());
        weights.reset(static_cast<char *>(::operator new[](bytes, std::align_val_t{64})));
        file.seekg(0).read(weights.get(), static_cast<std::streamsize>(bytes));
        check(llama_open(&model, weights.get(), bytes));
        cache_memory.resize(llama_cache_bytes(&model, 1));
        check(llama_cache_open(&model, &cache, cache_memory.data(), cache_memory.size(), 1));
    }

    // Takes the text in and gives the byte that goes on best.
    char next(const std::string &text)
    {
        const llama_dims dims = {1, static_cast<std::int64_t>(text.size())};
        const std::size_t need = llama_arena_bytes(&model, &dims);
        if (need == 0)
            throw std::length_error("a text of " + std::to_string(text.size()) + " bytes");
        arena.resize(std::max(arena.size(), need));
        std::vector<std::int32_t> ids(text.size());
        std::transform(text.begin(), text.end(), ids.begin(), [](char c) { return static_cast<unsigned char>(c); });
        std::vector<float> logits(text.size() * 256);
        const llama_inputs inputs = {ids.data()};
        const llama_outputs outputs = {logits.data()};
        check(llama_step(&model, &cache, arena.data(), arena.size(), &inputs, &dims, &outputs));
        return static_cast<char>(std::max_element(logits.end() - 256, logits.end()) - (logits.end() - 256));
    }

private:
    struct Free {
        void operator()(char *memory) const { ::operator delete[](memory, std::align_val_t{64}); }
    };
    static void check(int error)
    {
        if (error)
            throw std::runtime_error(llama_error_text(error));
    }

    std::unique_ptr<char[], Free> weights; // at a multiple of 64 bytes, and for as long as the model
    std::vector<char> cache_memory, arena;
    llama model;
    llama_cache cache;
};

int main(int argc, char **argv)
try {
    if (argc != 4)
        throw std::invalid_argument("usage: write FILE.weights TEXT COUNT");
    Writer writer(argv[1]);
    std::string text = argv[2];
    std::cout << text;
    for (int left = std::stoi(argv[3]); left > 0; left--)
        std::cout << (text = writer.next(text)) << std::flush;
    std::cout << '\n';
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
