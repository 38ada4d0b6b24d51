/* NAME.h: the interface of a shipped model, with all that its user has to know. */
#include "codegen/ship_inside.h"

#include <ctype.h>
#include <string.h>

static const char top[] =
    "#ifndef @@_H\n#define @@_H\n\n#include <stddef.h>\n#include <stdint.h>\n%#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n"
    "/* What functions that return an int return; @_error_text says it in words. */\n"
    "enum @_error {\n"
    "    @@_OK,\n"
    "    @@_BAD_ARGUMENT,    /* a null pointer, or a model that was not opened */\n"
    "    @@_BAD_DIMS,        /* a size outside its bounds, or all together too large for this machine */\n"
    "    @@_SMALL_ARENA,     /* less memory than @_arena_bytes or @_cache_bytes says */\n"
    "    @@_NOT_WEIGHTS,     /* not a file of weights */\n"
    "    @@_OTHER_WEIGHTS,   /* of another model, another version, or packed for other processors */\n"
    "    @@_TRUNCATED,       /* the file ends too early */\n"
    "    @@_DAMAGED,         /* the file is not what was written */\n"
    "    @@_UNALIGNED,       /* the weights do not begin at a multiple of 64 bytes */\n"
    "    @@_BAD_INDEX,       /* an id that is not in its table */\n"
    "    @@_BAD_CACHE,       /* a cache that was not opened, or for another model or batch */\n"
    "    @@_FULL_CACHE,      /* more positions than a cache holds */\n"
    "    @@_NO_PROCESSOR,    /* the model was not built for this kind of processor */\n"
    "    @@_NO_THREADS       /* threads cannot be started */\n"
    "};\n\n";

static void put_bound(const Ship *s, Extent bound, Text *out) {
    if (extent_is_const(bound))
        text_add(out, ", each from 0 to %lld", (long long)bound.base - 1);
    else
        text_add(out, ", each from 0 to %s - 1", extent_text(s->cx, bound));
}

/* The struct's members with their types; `indices`: which elements are good. */
static void put_tensors(const Ship *s, const char *what, const char *about, const char *constness, const char **names, bool inputs, Text *out) {
    int n = inputs ? s->plan->n_inputs : s->plan->n_outputs;
    text_add(out, "/* %s */\nstruct %s_%s {\n", about, s->name, what);
    for (int i = 0; i < n; i++) {
        DType dtype = inputs ? s->plan->inputs[i].dtype : s->plan->outputs[i].dtype;
        const char *c = dtype == DT_I32 ? "int32_t" : c_type_of(dtype);
        size_t column = text_column(out);
        (void)column;
        text_add(out, "    %s%s *%s;", constness, c, names[i]);
        text_pad(out, 40);
        text_add(out, " /* ");
        type_print(inputs ? s->model->params[i]->type : s->model->results[i].value->type, out);
        if (dtype == DT_BOOL)
            text_add(out, "%s", inputs ? ", true where not 0" : ", 0 or 1");
        for (size_t b = 0; inputs && b < s->emitter[0].n_bounds; b++)
            if (s->emitter[0].bounds[b].input == i)
                put_bound(s, s->emitter[0].bounds[b].bound, out);
        text_add(out, " */\n");
    }
    text_add(out, "};\n\n");
}

static void put_dims(const Ship *s, Text *out) {
    const Plan *p = s->plan;
    Text bounds = text_new(s->cx->arena), members = text_new(s->cx->arena);
    for (int i = 0; i < p->n_symbols; i++) {
        if (!s->out->dims[i])
            continue;
        text_add(&bounds, "#define %s_MAX_%s %lld%s\n", s->upper, p->symbols[i].name, (long long)p->symbols[i].high,
                 p->symbols[i].high == SYMBOL_UNBOUNDED ? " /* as far as there is memory */" : "");
        text_add(&members, members.length ? ", %s" : "    int64_t %s", p->symbols[i].name);
    }
    if (bounds.length)
        text_add(out, "/* The sizes of a call: each at least 1 and at most */\n%s", bounds.data);
    else
        text_add(out, "/* Every size is fixed. */\n");
    text_add(out, "struct %s_dims {\n%s;\n};\n\n", s->name, members.length ? members.data : "    int64_t none");
}

static const char model[] =
    "struct @_code;\n"
    "/* An opened model. Private; written by @_open^, then only read: one serves any number of threads at the same time. */\n"
    "struct @ {\n    const struct @_code *code;\n    const unsigned char *file;\n";

static const char opens[] =
    "/* `weights` are the bytes of @.weights, mapped or read, @@_WEIGHTS_BYTES of them or more, at a multiple of 64 bytes. They stay\n"
    " * the caller's, must stay where they are as long as the model is used, and are only read. All is checked but the content. */\n"
    "int @_open(struct @ *model, const void *weights, size_t bytes);\n"
    "/* Reads all of the weights and compares their hash: @@_OK or @@_DAMAGED. */\n"
    "int @_check(const struct @ *model);\n"
    "size_t @_model_size(void);              /* sizeof(struct @), for languages that do not read this file */\n\n"
    "/* How much memory a run with these sizes needs; 0: a size is outside its bounds, or it is more than can be addressed. */\n"
    "size_t @_arena_bytes(const struct @ *model, const struct @_dims *dims);\n\n";

static const char encoder[] =
    "/* Computes the outputs. `arena` is memory of at least @_arena_bytes at any address; what it holds before does not matter, nor\n"
    " * after. Inputs are read and outputs written by the caller's pointers, in row-major order; outputs must not overlap inputs, arena or\n"
    " * weights. Allocates nothing and keeps nothing: calls with different arenas may run at the same time. On an error (which is\n"
    " * found before anything is computed, but for a BAD_INDEX of ids that the model computes itself) outputs are not to be used. */\n"
    "int @_run(const struct @ *model, void *arena, size_t arena_bytes, const struct @_inputs *inputs,\n"
    "          const struct @_dims *dims, const struct @_outputs *outputs);\n\n";

static const char decoder[] =
    "/* What the model remembers of the positions so far, of B sequences. Its memory is the caller's. */\n"
    "struct @_cache {\n"
    "    void *memory;                        /* private, but for `length` */\n"
    "    int64_t B, length;                   /* positions so far*~ */\n"
    "    uint64_t layout;\n"
    "    int64_t held;\n"
    "};\n"
    "size_t @_cache_bytes(const struct @ *model, int64_t B);         /* 0: B is outside its bounds, or it is too much */\n"
    "/* Makes an empty cache in at least @_cache_bytes of memory, at any address, which must stay as long as the cache is used. */\n"
    "int @_cache_open(const struct @ *model, struct @_cache *cache, void *memory, size_t bytes, int64_t B);\n"
    "size_t @_cache_size(void);              /* sizeof(struct @_cache) */\n\n"
    "/* Adds %s positions behind those in the cache and computes the outputs. `arena` is memory of at least @_arena_bytes at any\n"
    " * address; what it holds before does not matter, nor after. Inputs are read and outputs written by the caller's pointers, in\n"
    " * row-major order; outputs must not overlap inputs, arena, cache or weights. Allocates nothing: calls with different arenas and\n"
    " * caches may run at the same time. On an error outputs are not to be used, and the cache is as before*. */\n"
    "int @_step(const struct @ *model, struct @_cache *cache, void *arena, size_t arena_bytes,\n"
    "           const struct @_inputs *inputs, const struct @_dims *dims, const struct @_outputs *outputs);\n"
    "/* The same from an empty cache. */\n"
    "int @_run(const struct @ *model, struct @_cache *cache, void *arena, size_t arena_bytes,\n"
    "          const struct @_inputs *inputs, const struct @_dims *dims, const struct @_outputs *outputs);\n\n";

static const char threads[] =
    "struct @;\n"
    "/* Calls body(work, thread) for each thread from 0 to threads - 1, in any order, at the same time or not, and returns when all\n"
    " * have come back. */\n"
    "typedef void @_parallel(void *state, void (*body)(void *work, ptrdiff_t thread), void *work, ptrdiff_t threads);\n"
    "enum { @@_MAX_THREADS = 256 };\n"
    "/* From now on a run is shared by so many threads, which `parallel` starts, once for each run. Outputs are the same bits for any number. Not\n"
    " * while the model runs; an arena needs more memory. One thread, as after @_open: `parallel` may be null. */\n"
    "int @_use_threads(struct @ *model, ptrdiff_t threads, @_parallel *parallel, void *state);\n\n";

static const char pool[] =
    "/* Threads that sleep until a run wants them. Private; a run that begins while another uses them goes on alone. */\n"
    "struct @_pool {\n"
    "    pthread_mutex_t lock;\n    pthread_cond_t begins, ends;\n    pthread_t thread[@@_MAX_THREADS];\n"
    "    ptrdiff_t threads, started, wanted, inside;\n    unsigned round;\n    int stops;\n"
    "    void (*body)(void *work, ptrdiff_t thread);\n    void *work;\n};\n"
    "/* So many threads with the one that calls @_run. @_use_threads(&model, threads, @_pool_parallel, &pool) makes the model use them;\n"
    " * they have to be stopped when no model does any more. The pool must stay where it is. */\n"
    "int @_pool_start(struct @_pool *pool, ptrdiff_t threads);\n"
    "void @_pool_stop(struct @_pool *pool);\n"
    "void @_pool_parallel(void *pool, void (*body)(void *work, ptrdiff_t thread), void *work, ptrdiff_t threads);\n\n";

static const char bottom[] =
    "const char *@_error_text(int code);     /* a sentence without its full stop; for any code */\n\n"
    "#ifdef __cplusplus\n}\n#endif\n\n#endif\n";

static void put_about(const Ship *s, Text *out) {
    Text line = text_new(s->cx->arena);
    text_add(&line, "/* %s.h: the model %s as C functions.", s->name, s->model->name);
    put_comment_line(out, line.data, line.length, " * ");
    text_add(out, "\n *\n *     ");
    line = text_new(s->cx->arena);
    for (int i = 0; i < s->plan->n_outputs; i++) {
        text_add(&line, i ? ", %s " : "%s ", s->out->outputs[i]);
        type_print(s->model->results[i].value->type, &line);
    }
    for (int i = 0; i < s->plan->n_inputs; i++) {
        text_add(&line, i ? ", %s " : "   from %s ", s->out->inputs[i]);
        type_print(s->model->params[i]->type, &line);
    }
    put_comment_line(out, line.data, line.length, " *     ");
    text_add(out, "\n");
    emit_approximations(&s->emitter[0], out);
    text_add(out, " *\n * Open the weights once; then, for each call, fill in sizes and pointers and give memory to work in:\n *\n"
                  " *     struct %s model;\n *     int error = %s_open(&model, weights, bytes);\n", s->name, s->name);
    if (s->out->caches)
        text_add(out, " *     error = %s_cache_open(&model, &cache, memory, %s_cache_bytes(&model, B), B);\n"
                      " *     error = %s_step(&model, &cache, arena, %s_arena_bytes(&model, &dims), &inputs, &dims, &outputs);\n", s->name, s->name, s->name, s->name);
    else
        text_add(out, " *     error = %s_run(&model, arena, %s_arena_bytes(&model, &dims), &inputs, &dims, &outputs);\n", s->name, s->name);
    text_add(out, " */\n");
}

void ship_header(Ship *s, Text *out) {
    put_about(s, out);
    const char *cut = strchr(top, '%');
    ship_put(s, out, arena_print(s->cx->arena, "%.*s%s%s", (int)(cut - top), top, s->options->threads == SHIP_THREADS_POOL ? "#include <pthread.h>\n\n" : "\n", cut + 1));
    put_dims(s, out);
    put_tensors(s, "inputs", "What it reads; the last axis is the innermost.", "const ", s->out->inputs, true, out);
    put_tensors(s, "outputs", "Where it writes, all of them.", "", s->out->outputs, false, out);
    ship_put(s, out, arena_print(s->cx->arena, "#define @@_WEIGHTS_BYTES %llu%s\n", (unsigned long long)s->out->file_bytes, s->out->file_bytes > UINT32_MAX ? "ull" : "u"));
    if (s->options->embed)
        ship_put(s, out, "extern const unsigned char @_weights[@@_WEIGHTS_BYTES]; /* the file, for @_open */\n");
    text_char(out, '\n');
    if (s->threads)
        ship_put(s, out, threads);
    for (const char *p = model; *p; p++)
        if (*p == '^')
            ship_put(s, out, s->threads ? " and @_use_threads" : "");
        else
            ship_put(s, out, (const char[]){*p, 0});
    ship_put(s, out, s->threads ? "    ptrdiff_t threads;\n    @_parallel *parallel;\n    void *state;\n};\n\n" : "};\n\n");
    ship_put(s, out, opens);
    if (s->out->caches) {
        const char *grows = ship_size(s, &s->grows);
        Text t = text_new(s->cx->arena);
        for (const char *p = decoder; *p; p++) {
            if (*p == '%')
                text_add(&t, strchr(grows, ' ') ? "%s" : isalpha((unsigned char)*grows) ? "dims->%s" : "%s", grows), p++;
            else if (*p == '*' && p[1] == '~')
                text_add(&t, s->states ? "; read it" : "; may be set back, to forget the last ones"), p++;
            else if (*p == '*' && p[1] == '.')
                text_add(&t, "%s", s->states ? ", but for BAD_INDEX of ids that the model\n * computes itself: then only @_run can follow" : "");
            else
                text_char(&t, *p);
        }
        ship_put(s, out, t.data);
    } else {
        ship_put(s, out, encoder);
    }
    if (s->options->threads == SHIP_THREADS_POOL)
        ship_put(s, out, pool);
    ship_put(s, out, bottom);
}
