/* README.md of a built model: what it computes, from what, with which approximations, how it is called, how much memory it takes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "driver/ship.h"
#include "driver/signature.h"
#include "ir/ir.h"
#include "runtime/weights_file.h"

static const char mark[] = "<!-- attar build ";

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ---- what it is made of ------------------------------------------------------------------------------------------ */

typedef struct Origins {
    Arena *a;
    Text *out;
    const char **seen;
    size_t n, capacity;
} Origins;

/* A row for a file that was read, once; what is no file (a pass that made a tensor) has none. */
static void put_origin(Origins *o, const char *what, const char *path)
{
    uint64_t hash, bytes;
    struct stat info;
    for (size_t i = 0; i < o->n; i++)
        if (!strcmp(o->seen[i], path))
            return;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || !file_hash(path, &hash, &bytes))
        return;
    o->seen = arena_room(o->a, o->seen, o->n, &o->capacity, sizeof *o->seen);
    o->seen[o->n++] = path;
    text_add(o->out, "| %s | `%s` | %llu | `%016llx` |\n", what, base_name(path), (unsigned long long)bytes, (unsigned long long)hash);
}

static void put_origins(const Shipment *s, Text *out)
{
    Compilation *c = s->c;
    Origins o = {.a = &c->arena, .out = out};
    text_add(out, "## Made from\n\nHashes are XXH64, as `xxhsum -H64` prints them.\n\n| what | file | bytes | hash |\n|---|---|---|---|\n");
    put_origin(&o, "model", c->source.path);
    if (c->options.config_path)
        put_origin(&o, "configuration", c->options.config_path);
    for (int i = 0; i < c->n_other_configs; i++)
        put_origin(&o, "configuration", c->other_paths[i]);
    int64_t n = 0;
    const HostTensor *tensors = c->checkpoint ? checkpoint_tensors(c->checkpoint, &n) : NULL;
    for (int i = 0; i < c->adapters.n; i++)
        put_origin(&o, "adapter", c->adapters.items[i]->file);
    for (int64_t i = 0; i < n; i++)
        put_origin(&o, "weights", checkpoint_file(c->checkpoint, tensors[i].name));
    text_add(out, "\n");
}

static void put_approximations(const Shipment *s, Text *out)
{
    const Approximations *all = &s->c->approximations;
    text_add(out, "## Exactness\n\n");
    if (!all->count) {
        text_add(out, "Every rewrite is exact in real arithmetic; nothing was approximated. Numbers are rounded as float is.\n\n");
        return;
    }
    text_add(out, "**Approximated**, as was asked for:\n\n");
    for (size_t i = 0; i < all->count; i++) {
        text_add(out, "* ");
        approximation_print(&all->items[i], out);
        text_add(out, "\n");
        if (all->items[i].table)
            text_add(out, "\n```\n%s```\n", all->items[i].table);
    }
    text_add(out, "\n");
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* The row for one length; false: it is outside the bounds, or the same as the row before. */
static void put_length(const Shipment *s, int along, int64_t length, Text *out)
{
    Compilation *c = s->c;
    const Plan *p = s->code->plan;
    int64_t *sizes = arena_array(&c->arena, (size_t)p->n_symbols + 1, sizeof *sizes), *mine = arena_array(&c->arena, (size_t)c->kernels->n_symbols + 1, sizeof *mine);
    for (int i = 0; i < p->n_symbols; i++) {
        const PlanSymbol *y = &p->symbols[i];
        int64_t size = y->past ? s->code->capacity - length : i == along ? length : 1;
        sizes[i] = size < y->low ? y->low : size > y->high ? y->high : size;
    }
    signature_for_graph(p, c->kernels, sizes, mine);
    text_add(out, "| %lld |", (long long)length);
    for (int64_t threads = 1; threads <= (s->threads ? 4 : 1); threads *= 4)
        text_add(out, " %lld |", (long long)codegen_ship_arena(s->code, c->kernels, mine, threads));
    text_add(out, "\n");
}

/* The symbol that texts have as their length: that of the steps, or the first that is not the batch. */
static int length_symbol(const Plan *p)
{
    int step = p->n_caches ? signature_step(p) : -1, batch = signature_batch(p);
    for (int i = 0; i < p->n_symbols && step < 0; i++)
        if (!p->symbols[i].past && i != batch)
            step = i;
    return step < 0 ? batch : step;
}

static void put_memory(const Shipment *s, Text *out)
{
    const Plan *p = s->code->plan;
    int along = length_symbol(p), batch = signature_batch(p);
    text_add(out, "## Memory\n\nNothing is allocated: the caller gives memory to work in. Weights: %llu bytes, mapped or read, for all threads together.\n",
             (unsigned long long)s->code->file_bytes);
    if (s->code->caches) {
        uint64_t fixed = 64, row = 0;
        for (int i = 0; i < p->n_caches; i++) {
            const PlanTensor *c = &p->caches[i];
            bool by_batch = c->rank > 0 && c->growing != 0 && c->dims[0].n > 0;
            *(by_batch ? &row : &fixed) += c->bytes_per_row * (uint64_t)c->layers;
            fixed += 127;
        }
        text_add(out, "Cache (`%s_cache_bytes`): %llu bytes, and %llu for each of the B sequences; it holds %lld positions.\n", s->code->name, (unsigned long long)fixed,
                 (unsigned long long)row, (long long)s->code->capacity);
    }
    if (along < 0) {
        text_add(out, "Arena (`%s_arena_bytes`): %lld bytes.\n\n", s->code->name, (long long)codegen_ship_arena(s->code, s->c->kernels, NULL, 1));
        return;
    }
    const char *name = p->symbols[along].name, *others = along == batch || batch < 0 ? "" : arena_print(&s->c->arena, ", %s = 1", p->symbols[batch].name);
    text_add(out, "Arena (`%s_arena_bytes`)%s%s:\n\n| %s | bytes |", s->code->name, others, s->code->caches ? ", behind as many positions as fit" : "", name);
    text_add(out, s->threads ? " of 4 threads |\n|---|---|---|\n" : "\n|---|---|\n");
    int64_t high = p->symbols[along].high;
    if (s->code->caches && high > s->code->capacity)
        high = s->code->capacity;
    int64_t last = high < 65536 ? high : 4096;
    for (int64_t n = s->code->caches ? 1 : 16; n < last; n *= n == 1 ? 16 : 2)
        put_length(s, along, n, out);
    put_length(s, along, last, out);
    text_add(out, "\n");
}

/* ---- how it is used ---------------------------------------------------------------------------------------------- */

static void put_tensors(const Shipment *s, Text *out)
{
    const Graph *g = s->c->kernels;
    const Shipped *code = s->code;
    for (int i = 0; i < code->plan->n_outputs; i++) {
        text_add(out, i ? ", `%s` " : "`%s` ", code->outputs[i]);
        type_print(g->results[i].value->type, out);
    }
    text_add(out, " from ");
    for (int i = 0; i < code->plan->n_inputs; i++) {
        text_add(out, i ? ", `%s` " : "`%s` ", code->inputs[i]);
        type_print(g->params[i]->type, out);
    }
    for (int i = 0; i < code->plan->n_symbols; i++)
        if (code->dims[i] && code->plan->symbols[i].high < INT32_MAX)
            text_add(out, "; %s <= %lld", code->dims[i], (long long)code->plan->symbols[i].high);
}

static void put_interface(const Shipment *s, Text *out)
{
    ship_named(s, out, "## Calling it\n\n`@.h` says all of it; `example.c` does it.\n\n```c\nstruct @ model;\nint error = @_open(&model, ");
    ship_named(s, out, s->embed ? "@_weights, @@_WEIGHTS_BYTES);    /* in the program: @_weights.c */\n" : "weights, bytes);    /* @.weights, mapped or read, at a multiple of 64 bytes */\n");
    if (s->threads == SHIP_THREADS_CALLER)
        ship_named(s, out, "error = @_use_threads(&model, 4, parallel, state);      /* your function that runs a body on threads */\n");
    if (s->threads == SHIP_THREADS_POOL)
        ship_named(s, out, "error = @_pool_start(&pool, 4);\nerror = @_use_threads(&model, 4, @_pool_parallel, &pool);\n");
    ship_named(s, out, "struct @_dims dims = {");
    for (int i = 0, n = 0; i < s->code->plan->n_symbols; i++)
        if (s->code->dims[i])
            text_add(out, "%s.%s = %d", n++ ? ", " : "", s->code->dims[i], i == length_symbol(s->code->plan) ? 16 : 1);
    ship_named(s, out, "};\nsize_t bytes = @_arena_bytes(&model, &dims);\nvoid *arena = malloc(bytes);\n");
    if (s->code->caches)
        ship_named(s, out, "error = @_cache_open(&model, &cache, memory, @_cache_bytes(&model, 1), 1);\n"
                           "error = @_step(&model, &cache, arena, bytes, &inputs, &dims, &outputs);      /* each call goes on behind the last one */\n```\n\n");
    else
        ship_named(s, out, "error = @_run(&model, arena, bytes, &inputs, &dims, &outputs);\n```\n\n");
    ship_named(s, out, "Errors are codes, `@_error_text` says them in words. One model serves any number of threads, each with an arena of its own");
    text_add(out, s->code->caches ? " and caches of its own.\n\n" : ".\n\n");
}

static void put_building(const Shipment *s, Text *out)
{
    ship_named(s, out, "## Building\n\n    make check              with gcc or clang; `make CC=clang`\n    make lib                lib@.a, lib@.so and @.pc\n"
                       "    cmake -B build && cmake --build build && ctest --test-dir build\n\nFor another machine: `make CC=aarch64-linux-gnu-gcc LDFLAGS=-static RUN=qemu-aarch64 check`. ");
    ship_named(s, out, "`@.c` is compiled with\n\n");
    text_add(out, "    clang %s\n", s->code->clang_flags);
    if (s->code->gcc_flags)
        text_add(out, "    gcc %s\n", s->code->gcc_flags);
    for (int i = 0; i < s->code->n_machines; i++)
        text_add(out, "    clang ... %s        besides, for %s\n", s->code->machines[i].clang_flags, s->code->machines[i].name);
    text_add(out, "\nand is for");
    for (int i = 0; i < s->code->n_targets; i++)
        text_add(out, "%s %s (%s)", i ? i + 1 == s->code->n_targets ? " and" : "," : "", s->code->targets[i]->name, s->code->targets[i]->machines);
    ship_named(s, out, s->code->n_targets > 1 ? "; `@_open` chooses.\n" : ".\n");
    text_add(out, "The selftest's inputs: %s.\n\n", s->test.origin);
}

const char *ship_readme(const Shipment *s, const ShipFile *files, int n)
{
    Text out = text_new(&s->c->arena);
    ship_named(s, &out, arena_print(&s->c->arena, "# @\n\n%s@ -->\n", mark));
    text_add(&out, "The model %s of `%s` as C: ", s->c->kernels->name, base_name(s->c->source.path));
    put_tensors(s, &out);
    ship_named(s, &out, ".\n\n");
    put_building(s, &out);
    put_interface(s, &out);
    put_memory(s, &out);
    put_approximations(s, &out);
    put_origins(s, &out);
    text_add(&out, "## Files\n\n| file | bytes | hash |\n|---|---|---|\n");
    for (int i = 0; i < n; i++)
        text_add(&out, "| `%s` | %llu | `%016llx` |\n", files[i].name, (unsigned long long)files[i].bytes, (unsigned long long)files[i].hash);
    return out.data;
}

/* ---- read back --------------------------------------------------------------------------------------------------- */

bool ship_readme_read(Arena *a, const char *text, const char **model, ShipFile **files, int *n)
{
    const char *at = strstr(text, mark), *table = strstr(text, "\n## Files\n");
    const char *end = at ? strstr(at, " -->\n") : NULL;
    if (!end || !table || at - text > 200)
        return false;
    at += sizeof mark - 1;
    *model = arena_copy(a, at, (size_t)(end - at));
    size_t count = 0, capacity = 0;
    *files = NULL;
    for (const char *row = table; (row = strstr(row, "\n| `")) != NULL; row++) {
        const char *name = row + 4, *close = strchr(name, '`');
        char *number;
        ShipFile f = {.name = close ? arena_copy(a, name, (size_t)(close - name)) : ""};
        if (!close || strncmp(close, "` | ", 4) != 0)
            continue;
        f.bytes = strtoull(close + 4, &number, 10);
        if (strncmp(number, " | `", 4) != 0)
            continue;
        f.hash = strtoull(number + 4, NULL, 16);
        *files = arena_room(a, *files, count, &capacity, sizeof **files);
        (*files)[count++] = f;
    }
    *n = (int)count;
    return true;
}
