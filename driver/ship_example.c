/* example.c of a built model: a program of at most 60 lines. It continues a text, or a row of tokens, or makes one call with numbers from .npy files. */
#include <string.h>

#include "driver/ship.h"
#include "driver/signature.h"

static const char includes[] = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\n#include \"@.h\"\n\n";

static const char trouble[] =
    "static void need(int good, const char *what, const char *why)\n{\n    if (!good && fprintf(stderr, \"%s: %s\\n\", what, why))\n        exit(1);\n}\n\n";

static const char weights[] =
    "    FILE *f = fopen(\"@.weights\", \"rb\");\n"
    "    void *weights = aligned_alloc(64, (@@_WEIGHTS_BYTES + 63) / 64 * 64); /* or mmap */\n"
    "    need(f && weights && fread(weights, 1, @@_WEIGHTS_BYTES, f) == @@_WEIGHTS_BYTES, \"@.weights\", \"cannot be read\");\n";

/* ---- token by token ---------------------------------------------------------------------------------------------- */

static const char step[] =
    "/* Gives the model `n` tokens more; the likeliest one after them. */\n"
    "static int32_t step(const struct @ *model, struct @_cache *cache, const int32_t *tokens, int64_t n)\n{\n"
    "    const struct @_dims dims = {%};\n"
    "    const size_t bytes = @_arena_bytes(model, &dims);\n"
    "    void *arena = malloc(bytes);\n"
    "    float *logits = malloc(sizeof *logits * ^ * (size_t)n), *last = logits + ^ * (n - 1);\n"
    "    int error = @_step(model, cache, arena, bytes, &(struct @_inputs){tokens}, &dims, &(struct @_outputs){logits});\n"
    "    need(!error, \"@\", @_error_text(error));\n"
    "    int32_t best = 0;\n"
    "    for (int32_t i = 1; i < ^; i++)\n        best = last[i] > last[best] ? i : best;\n"
    "    free(arena);\n    free(logits);\n    return best;\n}\n\n";

static const char text_main[] =
    "int main(int argc, char **argv)\n{\n"
    "    const char *prompt = argc > 1 && *argv[1] ? argv[1] : \"It is a truth\";\n"
    "    int64_t steps = argc > 2 ? atoi(argv[2]) : 200, length = (int64_t)strlen(prompt);\n";

static const char token_main[] =
    "int main(int argc, char **argv)\n{\n"
    "    need(argc > 2, \"usage\", \"example STEPS TOKEN [TOKEN...]\");\n"
    "    int64_t steps = atoi(argv[1]), length = argc - 2;\n";

static const char opening[] =
    "    struct @ model;\n    struct @_cache cache;\n"
    "    int error = @_open(&model, $, @@_WEIGHTS_BYTES);\n"
    "    need(!error, \"@.weights\", @_error_text(error));\n"
    "    const size_t bytes = @_cache_bytes(&model, 1);\n"
    "    need(!@_cache_open(&model, &cache, malloc(bytes), bytes, 1), \"the cache\", \"not enough memory\");\n"
    "    int32_t *tokens = malloc(sizeof *tokens * (size_t)length);\n";

static const char text_loop[] =
    "    for (int64_t i = 0; i < length; i++)\n        tokens[i] = (unsigned char)prompt[i];\n"
    "    int32_t next = step(&model, &cache, tokens, length);\n"
    "    printf(\"%s%c\", prompt, next);\n"
    "    for (int64_t i = 1; i < steps && cache.length < #; i++) {\n"
    "        next = step(&model, &cache, &next, 1);\n"
    "        putchar(next);\n        fflush(stdout);\n    }\n    putchar('\\n');\n    return 0;\n}\n";

static const char token_loop[] =
    "    for (int64_t i = 0; i < length; i++)\n        tokens[i] = atoi(argv[i + 2]);\n"
    "    int32_t next = step(&model, &cache, tokens, length);\n"
    "    printf(\"%d\\n\", (int)next);\n"
    "    for (int64_t i = 1; i < steps && cache.length < #; i++) {\n"
    "        next = step(&model, &cache, &next, 1);\n"
    "        printf(\"%d\\n\", (int)next);\n    }\n    return 0;\n}\n";

/* `text` with what stands behind the signs ^ (width of the logits), % (sizes), $ (the weights) and # (positions that fit). */
static const char *filled(const Shipment *s, const char *text)
{
    const Plan *p = s->code->plan;
    int batch = signature_batch(p), at = signature_step(p);
    Text out = text_new(&s->c->arena);
    for (; *text; text++)
        if (*text == '^')
            text_add(&out, "%lld", (long long)p->outputs[0].dims[p->outputs[0].rank - 1].base);
        else if (*text == '%' && text[1] == '}')
            text_add(&out, "%s.%s = n", batch < 0 ? "" : arena_print(&s->c->arena, ".%s = 1, ", s->code->dims[batch]), s->code->dims[at]);
        else if (*text == '$')
            text_add(&out, s->embed ? "@_weights" : "weights");
        else if (*text == '#')
            text_add(&out, "%lld", (long long)s->code->capacity);
        else
            text_char(&out, *text);
    return out.data;
}

static void put_generator(const Shipment *s, Text *out)
{
    bool text = s->program == SHIP_BYTES;
    ship_named(s, out, text ? "/* Continues a text with @, always by the likeliest byte: ./example \"It is a truth\" 200 */\n"
                            : "/* Continues a row of tokens with @, always by the likeliest: ./example 20 5 17 3 */\n");
    ship_named(s, out, includes);
    ship_named(s, out, trouble);
    ship_named(s, out, filled(s, step));
    text_add(out, "%s", text ? text_main : token_main);
    if (!s->embed)
        ship_named(s, out, weights);
    ship_named(s, out, filled(s, opening));
    ship_named(s, out, filled(s, text ? text_loop : token_loop));
}

/* ---- one call ---------------------------------------------------------------------------------------------------- */

static const char npy[] =
    "/* The numbers of a .npy file of this type in C order. A size that is 0 is taken from the file, another one has to be its. */\n"
    "static void *read_npy(const char *path, const char *type, size_t size, int rank, int64_t *const *sizes)\n{\n"
    "    char head[65546] = {0};\n"
    "    FILE *f = fopen(path, \"rb\");\n"
    "    need(f && fread(head, 1, 10, f) == 10 && !memcmp(head, \"\\x93NUMPY\\x01\", 7), path, \"no .npy file of version 1\");\n"
    "    need(fread(head, 1, (unsigned char)head[8] + 256u * (unsigned char)head[9], f) > 0, path, \"it has no header\");\n"
    "    char *at = strchr(head, '(');\n"
    "    need(at && strstr(head, type) && !strstr(head, \"order': True\"), path, \"another type or order of elements than the model takes\");\n"
    "    for (int i = 0; i < rank; i++, size *= (size_t)*sizes[i - 1]) {\n"
    "        const int64_t n = strtoll(at + 1, &at, 10);\n"
    "        need(n > 0 && (!*sizes[i] || *sizes[i] == n), path, \"another shape than the model takes\");\n"
    "        *sizes[i] = n;\n    }\n"
    "    void *numbers = malloc(size);\n"
    "    need(numbers && fread(numbers, 1, size, f) == size && fgetc(f) == EOF, path, \"not as many numbers as it says\");\n"
    "    return numbers;\n}\n\n";

static const char *npy_type(DType t)
{
    return t == DT_F32 ? "'<f4'" : t == DT_I32 ? "'<i4'" : t == DT_I64 ? "'<i8'" : "'|b1'";
}

static const char *c_type(DType t)
{
    return t == DT_F32 ? "float" : t == DT_I32 ? "int32_t" : t == DT_I64 ? "int64_t" : "unsigned char";
}

static bool is_symbol(const PlanDim *d)
{
    return d->n == 1 && d->base == 0 && d->factor[0] == 1;
}

/* "dims.B", "12", "2 * dims.S + 1"; of the filled length of an empty cache 0. */
static const char *size_text(const Shipment *s, const PlanDim *d)
{
    Text out = text_new(&s->c->arena);
    for (int i = 0; i < d->n; i++) {
        const char *name = s->code->dims[d->symbol[i]];
        if (name && d->factor[i] == 1)
            text_add(&out, "%sdims.%s", out.length ? " + " : "", name);
        else if (name)
            text_add(&out, "%s%lld * dims.%s", out.length ? " + " : "", (long long)d->factor[i], name);
    }
    if (!out.length)
        text_add(&out, "%lld", (long long)d->base);
    else if (d->base)
        text_add(&out, " + %lld", (long long)d->base);
    return out.data;
}

/* Inputs whose sizes are symbols first: they say what the others have to be. */
static void put_reads(const Shipment *s, bool plain, Text *out)
{
    const Plan *p = s->code->plan;
    for (int i = 0; i < p->n_inputs; i++) {
        const PlanTensor *t = &p->inputs[i];
        bool all = true;
        for (int a = 0; a < t->rank; a++)
            all &= is_symbol(&t->dims[a]) && s->code->dims[t->dims[a].symbol[0]];
        if (all != plain)
            continue;
        text_add(out, "    %s *in_%s = read_npy(argv[%d], \"%s\", %d, %d, (int64_t *[]){", c_type(t->dtype), s->code->inputs[i], i + 1, npy_type(t->dtype),
                 (int)dtype_size(t->dtype), t->rank);
        for (int a = 0; a < t->rank; a++) {
            const char *size = size_text(s, &t->dims[a]);
            bool symbol = is_symbol(&t->dims[a]) && s->code->dims[t->dims[a].symbol[0]];
            text_add(out, symbol ? "%s&%s" : "%s&(int64_t){%s}", a ? ", " : "", size);
        }
        text_add(out, "%s});\n", t->rank ? "" : "0");
    }
}

static void put_results(const Shipment *s, Text *out)
{
    const Plan *p = s->code->plan;
    for (int i = 0; i < p->n_outputs; i++) {
        const PlanTensor *t = &p->outputs[i];
        text_add(out, "%sn_%s = ", i ? ", " : "    const int64_t ", s->code->outputs[i]);
        for (int a = 0; a < t->rank; a++) {
            const char *size = size_text(s, &t->dims[a]);
            text_add(out, strchr(size, ' ') ? "%s(%s)" : "%s%s", a ? " * " : "", size);
        }
        text_add(out, "%s", t->rank ? "" : "1");
    }
    text_add(out, ";\n");
    for (int i = 0; i < p->n_outputs; i++) {
        const char *name = s->code->outputs[i];
        text_add(out, "    %s *out_%s = malloc(sizeof *out_%s * (size_t)n_%s);\n", c_type(p->outputs[i].dtype), name, name, name);
    }
}

/* The first numbers of each. */
static void put_prints(const Shipment *s, Text *out)
{
    const Plan *p = s->code->plan;
    for (int i = 0; i < p->n_outputs; i++) {
        const char *name = s->code->outputs[i];
        text_add(out, "    for (int64_t i = 0; i < n_%s && i < 8; i++)\n        printf(\"%s[%%d] = %%g\\n\", (int)i, (double)out_%s[i]);\n", name, p->outputs[i].name, name);
    }
}

/* "in_ids, in_types" */
static const char *arguments(const Shipment *s, const char *prefix, const char *const *names, int n)
{
    Text out = text_new(&s->c->arena);
    for (int i = 0; i < n; i++)
        text_add(&out, "%s.%s = %s%s", i ? ", " : "", names[i], prefix, names[i]);
    return out.data;
}

static void put_one_call(const Shipment *s, Text *out)
{
    Arena *a = &s->c->arena;
    const Plan *p = s->code->plan;
    int batch = signature_batch(p);
    text_add(out, "/* One call of %s with numbers from .npy files: ./example", s->code->name);
    for (int i = 0; i < p->n_inputs; i++)
        text_add(out, " %s.npy", p->inputs[i].name);
    text_add(out, " */\n");
    ship_named(s, out, includes);
    ship_named(s, out, trouble);
    text_add(out, "%s", npy);
    ship_named(s, out, arena_print(a, "int main(int argc, char **argv)\n{\n    struct @_dims dims = {0};\n    struct @ model;\n"
                                      "    need(argc == %d, \"usage\", \"example, then a .npy file for each input\");\n", p->n_inputs + 1));
    put_reads(s, true, out);
    put_reads(s, false, out);
    put_results(s, out);
    if (!s->embed)
        ship_named(s, out, weights);
    ship_named(s, out, filled(s, "    int error = @_open(&model, $, @@_WEIGHTS_BYTES);\n    need(!error, \"@.weights\", @_error_text(error));\n"));
    const char *rows = batch < 0 ? "1" : arena_print(a, "dims.%s", s->code->dims[batch]);
    if (s->code->caches)
        ship_named(s, out, arena_print(a, "    struct @_cache cache;\n    const size_t held = @_cache_bytes(&model, %s);\n    error = @_cache_open(&model, &cache, malloc(held), held, %s);\n"
                                          "    need(!error, \"the cache\", @_error_text(error));\n", rows, rows));
    ship_named(s, out, "    const size_t bytes = @_arena_bytes(&model, &dims);\n");
    ship_named(s, out, arena_print(a, "    const struct @_inputs in = {%s};\n    const struct @_outputs out = {%s};\n", arguments(s, "in_", s->code->inputs, p->n_inputs),
                                   arguments(s, "out_", s->code->outputs, p->n_outputs)));
    ship_named(s, out, s->code->caches ? "    error = @_run(&model, &cache, malloc(bytes), bytes, &in, &dims, &out);\n" : "    error = @_run(&model, malloc(bytes), bytes, &in, &dims, &out);\n");
    ship_named(s, out, "    need(!error, \"@\", @_error_text(error));\n");
    put_prints(s, out);
    text_add(out, "    return 0;\n}\n");
}

const char *ship_example(const Shipment *s)
{
    Text out = text_new(&s->c->arena);
    if (s->program == SHIP_ANY)
        put_one_call(s, &out);
    else
        put_generator(s, &out);
    return out.data;
}
