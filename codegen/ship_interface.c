/* The end of NAME.c: the functions that NAME.h declares. They check all they are given before a kernel runs. */
#include "codegen/ship_inside.h"

#include <string.h>

/* ---- errors ---------------------------------------------------------------------------------------------------------------------------- */

static const char errors[] =
    "const char *@_error_text(int code)\n{\n"
    "    static const char *const text[] = {         /* in the order of enum @_error */\n"
    "        \"good\", \"a pointer is null, or the model was not opened\",\n"
    "        \"a size is outside its bounds, or all together are too large for this machine\",\n"
    "        \"the memory is shorter than it has to be for these sizes\", \"this is no file of weights\",\n"
    "        \"these weights are of another model, of another version or for other processors\",\n"
    "        \"the weights end too early\", \"the weights are not what was written\",\n"
    "        \"the weights do not begin at a multiple of 64 bytes\",\n"
    "        \"an element of an input is not in the table that it is looked up in\",\n"
    "        \"the cache is not one of this model and batch, or was changed\", \"the cache has no room for so many positions\",\n"
    "        \"this processor is not one that the model was built for\", \"the threads cannot be started\"};\n"
    "    return code >= 0 && code < (int)(sizeof text / sizeof *text) ? text[code] : \"this is no code of @\";\n}\n";

/* ---- the file of weights ------------------------------------------------------------------------------------------------------------------ */

static const char hash[] =
    "static const uint64_t P1 = 0x9e3779b185ebca87u, P2 = 0xc2b2ae3d27d4eb4fu, P3 = 0x165667b19e3779f9u, P4 = 0x85ebca77c2b2ae63u;\n\n"
    "/* 8 bytes, the lowest first. */\n"
    "static uint64_t word(const unsigned char *at)\n{\n"
    "    uint64_t value = 0;\n    for (int i = 0; i < 8; i++)\n        value |= (uint64_t)at[i] << (8 * i);\n    return value;\n}\n\n"
    "static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }\n"
    "static uint64_t mixed(uint64_t sum, uint64_t value) { return rotate(sum + value * P2, 31) * P1; }\n\n"
    "/* XXH64 with seed 0 of a multiple of 8 bytes, at least 32. */\n"
    "static uint64_t hash_of(const unsigned char *at, uint64_t bytes)\n{\n"
    "    uint64_t sum[4] = {P1 + P2, P2, 0, 0 - P1}, all = 0, left = bytes;\n"
    "    for (; left >= 32; left -= 32, at += 32)\n"
    "        for (int i = 0; i < 4; i++)\n"
    "            sum[i] = mixed(sum[i], word(at + 8 * i));\n"
    "    all = rotate(sum[0], 1) + rotate(sum[1], 7) + rotate(sum[2], 12) + rotate(sum[3], 18);\n"
    "    for (int i = 0; i < 4; i++)\n"
    "        all = (all ^ mixed(0, sum[i])) * P1 + P4;\n"
    "    for (all += bytes; left; left -= 8, at += 8)\n"
    "        all = rotate(all ^ mixed(0, word(at)), 27) * P1 + P4;\n"
    "    all = (all ^ all >> 33) * P2;\n"
    "    all = (all ^ all >> 29) * P3;\n"
    "    return all ^ all >> 32;\n}\n\n";

static const char opens[] =
    "/* The file's first bytes: \"ATTARWTS\", then numbers, the lowest byte first as in the weights. */\n"
    "enum { VERSION_AT = 8, LAYOUT_AT = 16, BYTES_AT = 24, CONTENT_AT = 32, HASH_AT = 4088, HEADER = 4096 };\n\n"
    "int @_open(struct @ *model, const void *weights, size_t bytes)\n{\n"
    "    const unsigned char *file = (const unsigned char *)weights;\n"
    "    const uint32_t order = 0x01020304;\n"
    "    if (model)\n        *model = (struct @){0};\n"
    "    if (!model || !weights)\n        return @@_BAD_ARGUMENT;\n"
    "    for (size_t i = 0; i < 8 && i < bytes; i++)\n"
    "        if (file[i] != (unsigned char)\"ATTARWTS\"[i])\n            return @@_NOT_WEIGHTS;\n"
    "    if (bytes < HEADER)\n        return @@_TRUNCATED;\n"
    "    if (word(file + VERSION_AT) != ((uint64_t)order << 32 | FORMAT) || *(const unsigned char *)&order != 4)\n        return @@_OTHER_WEIGHTS;\n"
    "    if (hash_of(file, HASH_AT) != word(file + HASH_AT))\n        return @@_DAMAGED;\n"
    "    if (word(file + LAYOUT_AT) != LAYOUT || word(file + BYTES_AT) != @@_WEIGHTS_BYTES)\n        return @@_OTHER_WEIGHTS;\n"
    "    if (bytes < @@_WEIGHTS_BYTES)\n        return @@_TRUNCATED;\n"
    "    if ((uintptr_t)weights % 64)\n        return @@_UNALIGNED;\n"
    "    model->code = choose();\n"
    "    model->file = file;\n"
    "THREADS"
    "    return model->code ? @@_OK : @@_NO_PROCESSOR;\n}\n\n"
    "int @_check(const struct @ *model)\n{\n"
    "    if (!model || !model->code)\n        return @@_BAD_ARGUMENT;\n"
    "    return hash_of(model->file + HEADER, @@_WEIGHTS_BYTES - HEADER) == word(model->file + CONTENT_AT) ? @@_OK : @@_DAMAGED;\n}\n\n"
    "size_t @_model_size(void) { return sizeof(struct @); }\n\n";

/* ---- processors ------------------------------------------------------------------------------------------------------------------------------- */

static const char cpuid[] =
    "#if $\n"
    "/* eax, ebx, ecx, edx of CPUID. */\n"
    "static void cpuid(unsigned leaf, unsigned r[4])\n{\n"
    "    __asm__(\"cpuid\" : \"=a\"(r[0]), \"=b\"(r[1]), \"=c\"(r[2]), \"=d\"(r[3]) : \"a\"(leaf), \"c\"(0));\n}\n\n"
    "/* The level of x86-64 that the processor has and whose registers the system saves: 1, 3 or 4. */\n"
    "static int x86_level(void)\n{\n"
    "    const unsigned first = 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29; /* FMA, MOVBE, OSXSAVE, AVX, F16C */\n"
    "    const unsigned v3 = 1u << 3 | 1u << 5 | 1u << 8, v4 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;\n"
    "    unsigned most[4], leaf1[4], leaf7[4], more[4], saved, high;\n"
    "    cpuid(0, most), cpuid(1, leaf1);\n"
    "    if (most[0] < 7 || (leaf1[2] & first) != first)\n        return 1;\n"
    "    cpuid(7, leaf7);            /* BMI1, AVX2, BMI2; AVX-512 F, DQ, CD, BW, VL */\n"
    "    cpuid(0x80000001u, more);   /* LZCNT */\n"
    "    __asm__(\"xgetbv\" : \"=a\"(saved), \"=d\"(high) : \"c\"(0));\n"
    "    if ((leaf7[1] & v3) != v3 || !(more[2] & 1u << 5) || (saved & 0x06) != 0x06)\n        return 1;\n"
    "    return (leaf7[1] & v4) == v4 && (saved & 0xe6) == 0xe6 ? 4 : 3;\n}\n"
    "#endif\n\n";

static int level_of(const Target *t) {
    return !t->architecture || strcmp(t->architecture, "x86_64") != 0 ? 0 : t->lanes == 16 ? 4 : t->lanes == 8 ? 3 : 1;
}

static void put_choice(Ship *s, Text *out) {
    bool several = s->out->n_targets > 1;
    for (int t = 0; t < s->out->n_targets; t++)
        if (level_of(s->out->targets[t]) > 1) {
            const char *rest = strchr(cpuid, '$') + 1;
            ship_put(s, out, arena_print(s->cx->arena, "#if %s%s", ship_guard(s, s->out->targets[t]), rest));
            break;
        }
    ship_put(s, out, several ? "/* The first of these that this processor can run. */\n" : "");
    ship_put(s, out, "static const struct @_code *choose(void)\n{\n");
    bool always = false;
    for (int t = 0; t < s->out->n_targets && !always; t++) {
        const Target *target = s->out->targets[t];
        const char *suffix = s->suffix[t];
        const char *guard = several || level_of(target) > 1 ? ship_guard(s, target) : NULL;
        if (guard)
            text_add(out, "#if %s\n", guard);
        text_add(out, "    static const struct %s_code code%s = {%s_kernels%s, %s_scratch%s, %llu};\n", s->name, suffix, s->name, suffix, s->name, suffix,
                 (unsigned long long)s->out->sections[s->out->section[t]].offset);
        if (level_of(target) > 1)
            text_add(out, "    if (x86_level() >= %d)\n        return &code%s;\n", level_of(target), suffix);
        else
            text_add(out, "    return &code%s;\n", suffix);
        if (guard)
            text_add(out, "#endif\n");
        always = !guard;
    }
    text_add(out, always ? "}\n\n" : "    return 0;\n}\n\n");
}

/* ---- sizes -------------------------------------------------------------------------------------------------------------------------------------- */

static void put_take_dims(Ship *s, Text *out) {
    const Plan *p = s->plan;
    Text checks = text_new(s->cx->arena), takes = text_new(s->cx->arena);
    for (int i = 0; i < p->n_symbols; i++) {
        const char *name = s->out->dims[i];
        if (!name)
            continue;
        text_add(&checks, "%sdims->%s < %lld || dims->%s > %s_MAX_%s", checks.length ? " || " : "", name, (long long)(p->symbols[i].low > 0 ? p->symbols[i].low : 0), name,
                 s->upper, name);
        text_add(&takes, "    call->%s = (ptrdiff_t)dims->%s;\n", name, name);
    }
    ship_put(s, out, "/* False: a size is outside its bounds. */\nstatic int take_dims(const struct @_dims *dims, struct @_call *call)\n{\n");
    if (checks.length)
        text_add(out, "    if (%s)\n        return 0;\n%s", checks.data, takes.data);
    else
        text_add(out, "    (void)dims, (void)call;\n");
    text_add(out, "    return 1;\n}\n\n");
}

static const char *region_real(Ship *s, const Region *r) {
    Text t = text_new(s->cx->arena);
    text_add(&t, "%lld.0", (long long)r->peak);
    for (int i = 0; i < r->n; i++)
        if (r->round[i] > 1)
            text_add(&t, " * (double)((%s + %lld) / %lld * %lld)", extent_text(s->cx, r->unit[i]), (long long)r->round[i] - 1, (long long)r->round[i], (long long)r->round[i]);
        else
            text_add(&t, " * %s", ship_real(s, r->unit[i]));
    return t.data;
}

static const char arena_bytes[] =
    "size_t @_arena_bytes(const struct @ *model, const struct @_dims *dims)\n{\n"
    "    struct @_call call = {0};\n"
    "    if (!model || !model->code || !dims || !take_dims(dims, &call))\n        return 0;\n";

/* Sums are in double, which does not overflow. */
static void put_arena_bytes(Ship *s, Text *out) {
    const Graph *m = s->model;
    const Plan *p = s->plan;
    const char *grows = s->out->caches ? ship_size(s, &s->grows) : "";
    Text body = text_new(s->cx->arena);
    text_add(&body, "    double bytes = 256 + model->code->scratch(&call)");
    if (s->threads) {
        body.length = 0;
        text_add(&body, "    double bytes = 256 + (%d + model->code->scratch(&call)) * (double)model->threads", SHIP_MEET);
    }
    text_add(&body, ";\n");
    for (int i = 0; i < m->n_params; i++)
        if (!p->inputs[i].in_place)
            text_add(&body, "    bytes += 128 + %s; /* a copy of %s */\n", ship_bytes(s, m->params[i]->type, true), s->out->inputs[i]);
    for (int i = 0; i < m->n_regions; i++)
        text_add(&body, "    bytes += %s;\n", region_real(s, &m->regions[i]));
    Text most = text_new(s->cx->arena);
    for (int i = 0; i < m->n_results; i++)
        text_add(&most, " && %s <= MOST", ship_bytes(s, m->results[i].value->type, true));
    text_add(&body, "    return bytes <= MOST%s ? (size_t)bytes : 0;\n}\n\n", most.data);
    put_take_dims(s, out);
    ship_put(s, out, arena_bytes);
    int n = 0;
    for (int i = 0; i < p->n_symbols; i++)
        if (!p->symbols[i].past && (mentions(body.data, p->symbols[i].name) || mentions(grows, p->symbols[i].name)))
            text_add(out, "%s%s = dims->%s", n++ ? ", " : "    const int64_t ", p->symbols[i].name, p->symbols[i].name);
    text_add(out, n ? ";\n" : "");
    bool symbol = s->grows.n == 1 && s->grows.factor[0] == 1 && !s->grows.base;
    if (s->out->caches && !(symbol && p->symbols[s->grows.symbol[0]].high <= s->capacity))
        text_add(out, "    if (%s > CAPACITY)\n        return 0;\n", grows);
    for (int i = 0; i < p->n_symbols; i++)
        if (p->symbols[i].past) {       /* the most that this may come to */
            text_add(out, "    call.%s = (ptrdiff_t)(CAPACITY - %s);\n", p->symbols[i].name, strchr(grows, ' ') ? arena_print(s->cx->arena, "(%s)", grows) : grows);
            if (mentions(body.data, p->symbols[i].name))
                text_add(out, "    const int64_t %s = call.%s;\n", p->symbols[i].name, p->symbols[i].name);
        }
    text_add(out, "%s", body.data);
}

static bool by_batch(const PlanTensor *c) { return c->rank > 0 && c->growing != 0 && c->dims[0].n > 0; }

static const char *cache_text(const Ship *s, const PlanTensor *c, bool real) {
    const char *number = arena_print(s->cx->arena, real ? "%llu.0" : "%llu", (unsigned long long)c->bytes_per_row * (unsigned long long)c->layers);
    return by_batch(c) ? arena_print(s->cx->arena, real ? "%s * (double)B" : "(size_t)(%s * cache->B)", number) : number;
}

/* ---- a run ---------------------------------------------------------------------------------------------------------------------------------------- */

static const char parts[] =
    "/* Moves *at behind `bytes` and some more, up to a multiple of 64. */\n"
    "static char *part(char **at, size_t bytes)\n{\n"
    "    char *from = *at;\n    *at += (bytes + 127) / 64 * 64;\n    return from;\n}\n\n";

/* Elements that were checked may not change before they are used. */
static const char copies[] =
    "static void *copy(char **at, const void *from, size_t bytes)\n{\n"
    "    char *to = part(at, bytes);\n"
    "    for (size_t i = 0; i < bytes; i++)\n        to[i] = ((const char *)from)[i];\n"
    "    return to;\n}\n\n";

static const char flags[] =
    "/* Elements that are 0 or not, as 0 and 1. */\n"
    "static unsigned char *copy_flags(char **at, const unsigned char *from, size_t count)\n{\n"
    "    unsigned char *to = (unsigned char *)part(at, count);\n"
    "    for (size_t i = 0; i < count; i++)\n        to[i] = from[i] != 0;\n"
    "    return to;\n}\n\n";

static const char indices[] =
    "/* Whether all are in 0 .. bound. */\n"
    "static int all_below(const int32_t *index, size_t count, int64_t bound)\n{\n"
    "    for (size_t i = 0; i < count; i++)\n        if (index[i] < 0 || index[i] >= bound)\n            return 0;\n"
    "    return 1;\n}\n\n";

static void put_helpers(Ship *s, Text *out) {
    bool copied = false, flagged = false;
    for (int i = 0; i < s->plan->n_inputs; i++) {
        flagged |= s->plan->inputs[i].dtype == DT_BOOL;
        copied |= s->plan->inputs[i].dtype != DT_BOOL && !s->plan->inputs[i].in_place;
    }
    ship_put(s, out, flagged || copied || s->plan->n_caches ? parts : "");
    ship_put(s, out, copied ? copies : "");
    ship_put(s, out, flagged ? flags : "");
    for (size_t i = 0; i < s->emitter[0].n_bounds; i++)
        if (s->plan->inputs[s->emitter[0].bounds[i].input].dtype == DT_I32) {
            ship_put(s, out, indices);
            break;
        }
    if (s->threads)
        ship_put(s, out, "struct work {\n    const struct @ *model;\n    const struct @_call *call;\n};\n\n"
                         "static void one_thread(void *state, ptrdiff_t thread)\n{\n"
                         "    const struct work *work = (const struct work *)state;\n"
                         "    work->model->code->kernels(work->call, thread);\n}\n\n");
}

static const char *elements(const Ship *s, int i) {
    const Type *t = s->model->params[i]->type;
    const char *bytes = ship_bytes(s, t, false);
    return arena_print(s->cx->arena, strchr(bytes, ' ') ? "(size_t)(%s)" : "(size_t)%s", bytes);
}

static const char *count_of(const Ship *s, int i) {
    Type bytes = *s->model->params[i]->type;
    bytes.dtype = DT_BOOL;              /* of which an element is a byte */
    const char *count = ship_bytes(s, &bytes, false);
    return arena_print(s->cx->arena, strchr(count, ' ') ? "(size_t)(%s)" : "(size_t)%s", count);
}

static void put_null_checks(Ship *s, Text *out) {
    Text t = text_new(s->cx->arena);
    text_add(&t, "if (!model || !model->code || !arena || !inputs || !dims || !outputs");
    for (int i = 0; i < s->plan->n_inputs; i++)
        text_add(&t, " || !inputs->%s", s->out->inputs[i]);
    for (int i = 0; i < s->plan->n_outputs; i++)
        text_add(&t, " || !outputs->%s", s->out->outputs[i]);
    text_add(&t, "%s)", s->out->caches ? " || !cache" : "");
    put_wrapped(out, 1, t.data);
    text_add(out, "        return %s_BAD_ARGUMENT;\n", s->upper);
}

static void put_cache_checks(Ship *s, Text *out) {
    const char *grows = ship_size(s, &s->grows);
    ship_put(s, out, "    if (cache->layout != (LAYOUT ^ (uint64_t)cache->B) || !cache->memory || past < 0 || past > CAPACITY");
    if (s->states)
        text_add(out, " || (past && past != cache->held)");
    if (s->batch >= 0)
        text_add(out, " || cache->B != dims->%s", s->plan->symbols[s->batch].name);
    ship_put(s, out, ")\n        return @@_BAD_CACHE;\n");
    text_add(out, strchr(grows, ' ') ? "    if (past > CAPACITY - (%s))\n" : "    if (past > CAPACITY - %s)\n", grows);
    text_add(out, "        return %s_FULL_CACHE;\n", s->upper);
}

static void put_members(Ship *s, Text *out) {
    const Plan *p = s->plan;
    text_add(out, "    char *at = (char *)arena + (128 - (uintptr_t)arena %% 128) %% 128;\n");
    if (s->threads) {
        text_add(out, "    call.threads = model->threads;\n    call.meet = at;\n    for (ptrdiff_t i = 0; i < model->threads * %d; i++)\n        *at++ = 0;\n", SHIP_MEET);
    }
    Text body = text_new(s->cx->arena);
    for (int i = 0; i < p->n_inputs; i++) {
        const char *name = s->out->inputs[i];
        if (p->inputs[i].dtype == DT_BOOL)
            text_add(&body, "    call.%s = copy_flags(&at, inputs->%s, %s);\n", name, name, elements(s, i));
        else if (p->inputs[i].in_place)
            text_add(&body, "    call.%s = inputs->%s;\n", name, name);
        else
            text_add(&body, "    call.%s = (const %s *)copy(&at, inputs->%s, %s);\n", name, c_type_of(p->inputs[i].dtype), name, elements(s, i));
    }
    for (int i = 0; i < p->n_outputs; i++)
        text_add(&body, "    call.%s = outputs->%s;\n", s->out->outputs[i], s->out->outputs[i]);
    if (p->n_caches)
        text_add(&body, "    char *cached = (char *)cache->memory;\n");
    for (int i = 0; i < p->n_caches; i++)
        text_add(&body, "    call.%s = (%s *)(void *)part(&cached, %s);\n", s->emitter[0].entry->cache[i], c_type_of(p->caches[i].dtype), cache_text(s, &p->caches[i], false));
    text_add(out, "%s    call.weights = (const float *)(const void *)(model->file + model->code->weights);\n    call.arena = (float *)(void *)at;\n    call.fault = fault;\n", body.data);
}

static void put_bounds(Ship *s, Text *out) {
    const Emitter *e = &s->emitter[0];
    for (size_t i = 0; i < e->n_bounds; i++) {
        int input = e->bounds[i].input;
        if (s->plan->inputs[input].dtype != DT_I32)
            continue;
        text_add(out, "    if (!all_below(inputs->%s, %s, %s))\n        return %s_BAD_INDEX;\n", s->out->inputs[input], count_of(s, input), extent_text(s->cx, e->bounds[i].bound), s->upper);
    }
}

static void put_run(Ship *s, Text *out) {
    const Plan *p = s->plan;
    bool caches = s->out->caches;
    put_helpers(s, out);
    Text bounds = text_new(s->cx->arena), members = text_new(s->cx->arena), sizes = text_new(s->cx->arena);
    put_bounds(s, &bounds);
    put_members(s, &members);
    const char *mentioned = arena_print(s->cx->arena, "%s%s%s", bounds.data ? bounds.data : "", members.data, caches ? ship_size(s, &s->grows) : "");
    int n = 0;
    for (int i = 0; i < p->n_symbols; i++)
        if (mentions(mentioned, p->symbols[i].name))
            text_add(&sizes, "%s%s = %s%s", n++ ? ", " : "    const int64_t ", p->symbols[i].name, p->symbols[i].past ? "" : "dims->", p->symbols[i].past ? "past" : p->symbols[i].name);
    text_add(&sizes, n ? ";\n" : "");
    if (caches)
        ship_put(s, out, "/* From position `past` on. */\nstatic int run_from(const struct @ *model, struct @_cache *cache, int64_t past, void *arena, size_t arena_bytes,\n"
                         "                    const struct @_inputs *inputs, const struct @_dims *dims, const struct @_outputs *outputs)\n{\n");
    else
        ship_put(s, out, "int @_run(const struct @ *model, void *arena, size_t arena_bytes, const struct @_inputs *inputs,\n"
                         "    const struct @_dims *dims, const struct @_outputs *outputs)\n{\n");
    put_null_checks(s, out);
    ship_put(s, out, "    const size_t needed = @_arena_bytes(model, dims);\n"
                     "    if (!needed || arena_bytes < needed)\n        return needed ? @@_SMALL_ARENA : @@_BAD_DIMS;\n");
    text_add(out, "%s", sizes.data);
    if (caches)
        put_cache_checks(s, out);
    text_add(out, "%s", bounds.data ? bounds.data : "");
    ship_put(s, out, "    int64_t fault[4] = {0};\n    struct @_call call = {0};\n    take_dims(dims, &call);\n");
    for (int i = 0; i < p->n_symbols; i++)
        if (p->symbols[i].past)
            text_add(out, "    call.%s = (ptrdiff_t)past;\n", p->symbols[i].name);
    text_add(out, "%s", members.data);
    if (s->threads)
        ship_put(s, out, "    struct work work = {model, &call};\n    if (model->threads > 1)\n        model->parallel(model->state, one_thread, &work, model->threads);\n"
                         "    else\n        one_thread(&work, 0);\n");
    else
        ship_put(s, out, "    model->code->kernels(&call);\n");
    if (caches) {
        text_add(out, "    if (fault[0]) {%s\n", s->states ? " /* what became of the sums is not known */" : "");
        if (s->states)
            text_add(out, "        cache->held = -1;\n");
        text_add(out, "        if (past < cache->length)\n            cache->length = 0;\n");
        text_add(out, "        return %s_BAD_INDEX;\n    }\n    cache->length = %spast + %s;\n    return %s_OK;\n}\n\n", s->upper, s->states ? "cache->held = " : "",
                 ship_size(s, &s->grows), s->upper);
    } else {
        ship_put(s, out, "    return fault[0] ? @@_BAD_INDEX : @@_OK;\n}\n\n");
    }
}

/* ---- caches --------------------------------------------------------------------------------------------------------------------------------------- */

static const char cache_open[] =
    "    return bytes <= MOST ? (size_t)bytes : 0;\n}\n\n"
    "int @_cache_open(const struct @ *model, struct @_cache *cache, void *memory, size_t bytes, int64_t B)\n{\n"
    "    if (cache)\n        *cache = (struct @_cache){0};\n"
    "    if (!model || !model->code || !cache || !memory)\n        return @@_BAD_ARGUMENT;\n"
    "    const size_t needed = @_cache_bytes(model, B);\n"
    "    if (!needed || bytes < needed)\n        return needed ? @@_SMALL_ARENA : @@_BAD_DIMS;\n"
    "    cache->memory = (char *)memory + (64 - (uintptr_t)memory % 64) % 64;\n"
    "    for (size_t i = 0; i < needed - 64; i++)\n        ((char *)cache->memory)[i] = 0;\n"
    "    cache->B = B;\n"
    "    cache->layout = LAYOUT ^ (uint64_t)B;\n"
    "    return @@_OK;\n}\n\n"
    "size_t @_cache_size(void) { return sizeof(struct @_cache); }\n\n";

static void put_caches(Ship *s, Text *out) {
    const Plan *p = s->plan;
    ship_put(s, out, "size_t @_cache_bytes(const struct @ *model, int64_t B)\n{\n");
    text_add(out, "    if (!model || !model->code || B < 1 || B > %s)\n        return 0;\n",
             s->batch < 0 ? "0x7fffffff" : arena_print(s->cx->arena, "%s_MAX_%s", s->upper, p->symbols[s->batch].name));
    text_add(out, "    double bytes = 64;\n");
    for (int i = 0; i < p->n_caches; i++)
        text_add(out, "    bytes += 127 + %s; /* %s */\n", cache_text(s, &p->caches[i], true), p->caches[i].name);
    ship_put(s, out, cache_open);
}

static const char steps[] =
    "int @_step(const struct @ *model, struct @_cache *cache, void *arena, size_t arena_bytes, const struct @_inputs *inputs,\n"
    "    const struct @_dims *dims, const struct @_outputs *outputs)\n{\n"
    "    return cache ? run_from(model, cache, cache->length, arena, arena_bytes, inputs, dims, outputs) : @@_BAD_ARGUMENT;\n}\n\n"
    "int @_run(const struct @ *model, struct @_cache *cache, void *arena, size_t arena_bytes, const struct @_inputs *inputs,\n"
    "    const struct @_dims *dims, const struct @_outputs *outputs)\n{\n"
    "    return run_from(model, cache, 0, arena, arena_bytes, inputs, dims, outputs);\n}\n\n";

static const char use_threads[] =
    "int @_use_threads(struct @ *model, ptrdiff_t threads, @_parallel *parallel, void *state)\n{\n"
    "    if (!model || !model->code || threads < 1 || threads > @@_MAX_THREADS || (threads > 1 && !parallel))\n        return @@_BAD_ARGUMENT;\n"
    "    model->threads = threads;\n    model->parallel = parallel;\n    model->state = state;\n    return @@_OK;\n}\n\n";

/* Workers take part in a run that they come to while its caller is at it; the schedule misses nobody who does not. */
static const char pool[] =
    "static void *pool_worker(void *state)\n{\n"
    "    struct @_pool *p = (struct @_pool *)state;\n"
    "    pthread_mutex_lock(&p->lock);\n"
    "    const ptrdiff_t number = ++p->started;\n"
    "    for (unsigned seen = 0; !p->stops;) {\n"
    "        if (p->round == seen) { /* for a moment it looks whether the next run begins, then it sleeps */\n"
    "            pthread_mutex_unlock(&p->lock);\n"
    "            for (int i = 0; i < 2000 && __atomic_load_n(&p->round, __ATOMIC_RELAXED) == seen; i++)\n"
    "                rest();\n"
    "            pthread_mutex_lock(&p->lock);\n"
    "            while (p->round == seen && !p->stops)\n"
    "                pthread_cond_wait(&p->begins, &p->lock);\n"
    "            continue;\n"
    "        }\n"
    "        seen = p->round;\n"
    "        if (number >= p->wanted)\n"
    "            continue;\n"
    "        p->inside++;\n"
    "        pthread_mutex_unlock(&p->lock);\n"
    "        p->body(p->work, number);\n"
    "        pthread_mutex_lock(&p->lock);\n"
    "        if (!--p->inside)\n"
    "            pthread_cond_signal(&p->ends);\n"
    "    }\n"
    "    pthread_mutex_unlock(&p->lock);\n"
    "    return 0;\n}\n\n"
    "void @_pool_parallel(void *pool, void (*body)(void *work, ptrdiff_t thread), void *work, ptrdiff_t threads)\n{\n"
    "    struct @_pool *p = (struct @_pool *)pool;\n"
    "    int mine = 0; /* not if it is not running, or another run is at it: then this one goes on alone */\n"
    "    if (p && p->threads) {\n"
    "        pthread_mutex_lock(&p->lock);\n"
    "        mine = !p->body;\n"
    "        if (mine) {\n"
    "            p->body = body;\n            p->work = work;\n            p->wanted = threads;\n"
    "            __atomic_store_n(&p->round, p->round + 1, __ATOMIC_RELAXED);\n"
    "            pthread_cond_broadcast(&p->begins);\n"
    "        }\n"
    "        pthread_mutex_unlock(&p->lock);\n"
    "    }\n"
    "    body(work, 0);\n"
    "    if (!mine)\n        return;\n"
    "    pthread_mutex_lock(&p->lock);\n"
    "    p->wanted = 0;\n"
    "    while (p->inside)\n        pthread_cond_wait(&p->ends, &p->lock);\n"
    "    p->body = 0; /* only now may another run begin: one caller at a time waits for the end */\n"
    "    pthread_mutex_unlock(&p->lock);\n}\n\n"
    "void @_pool_stop(struct @_pool *pool)\n{\n"
    "    if (!pool || !pool->threads)\n        return;\n"
    "    pthread_mutex_lock(&pool->lock);\n    pool->stops = 1;\n    pthread_cond_broadcast(&pool->begins);\n    pthread_mutex_unlock(&pool->lock);\n"
    "    for (ptrdiff_t i = 1; i < pool->threads; i++)\n        pthread_join(pool->thread[i], 0);\n"
    "    pthread_cond_destroy(&pool->ends);\n    pthread_cond_destroy(&pool->begins);\n    pthread_mutex_destroy(&pool->lock);\n"
    "    pool->threads = 0;\n}\n\n"
    "int @_pool_start(struct @_pool *pool, ptrdiff_t threads)\n{\n"
    "    if (pool)\n        *pool = (struct @_pool){.threads = 0};\n"
    "    if (!pool || threads < 1 || threads > @@_MAX_THREADS)\n        return @@_BAD_ARGUMENT;\n"
    "    if (pthread_mutex_init(&pool->lock, 0))\n        return @@_NO_THREADS;\n"
    "    if (pthread_cond_init(&pool->begins, 0)) {\n        pthread_mutex_destroy(&pool->lock);\n        return @@_NO_THREADS;\n    }\n"
    "    if (pthread_cond_init(&pool->ends, 0)) {\n        pthread_cond_destroy(&pool->begins);\n        pthread_mutex_destroy(&pool->lock);\n        return @@_NO_THREADS;\n    }\n"
    "    for (pool->threads = 1; pool->threads < threads; pool->threads++)\n"
    "        if (pthread_create(&pool->thread[pool->threads], 0, pool_worker, pool)) {\n            @_pool_stop(pool);\n            return @@_NO_THREADS;\n        }\n"
    "    return @@_OK;\n}\n\n";

/* ---- the whole --------------------------------------------------------------------------------------------------------------------------------------- */

static const char code[] =
    "/* ---- the interface ---- */\n\n"
    "struct @_code { /* for one kind of processors */\n"
    "    void (*kernels)(const struct @_call *call$);\n"
    "    double (*scratch)(const struct @_call *call);\n"
    "    uint64_t weights; /* where these begin in the file */\n"
    "};\n\n";

void ship_interface(Ship *s, Text *out) {
    const char *threads = s->threads ? ", ptrdiff_t thread" : "";
    for (const char *p = code, *cut; *p; p = cut + 1) {         /* $: what threads add */
        cut = strchr(p, '$');
        if (!cut) {
            ship_put(s, out, p);
            break;
        }
        ship_put(s, out, arena_print(s->cx->arena, "%.*s%s", (int)(cut - p), p, threads));
    }
    text_add(out, "#define LAYOUT 0x%016llxu /* of the weights, as this file expects them */\n", (unsigned long long)s->out->layout_hash);
    text_add(out, "#define MOST (PTRDIFF_MAX > 0x7fffffff ? 1e15 : 2147483647.0) /* bytes that can be addressed */\n");
    if (s->out->caches)
        text_add(out, "enum { FORMAT = %d, CAPACITY = %lld }; /* of the file; positions that a cache holds */\n\n", SHIP_FORMAT, (long long)s->capacity);
    else
        text_add(out, "enum { FORMAT = %d }; /* of the file */\n\n", SHIP_FORMAT);
    put_choice(s, out);
    ship_put(s, out, hash);
    const char *cut = strstr(opens, "THREADS");
    ship_put(s, out, arena_print(s->cx->arena, "%.*s%s%s", (int)(cut - opens), opens, s->threads ? "    model->threads = 1;\n" : "", cut + 7));
    put_arena_bytes(s, out);
    if (s->out->caches)
        put_caches(s, out);
    put_run(s, out);
    if (s->out->caches)
        ship_put(s, out, steps);
    if (s->threads)
        ship_put(s, out, use_threads);
    if (s->options->threads == SHIP_THREADS_POOL)
        ship_put(s, out, pool);
    ship_put(s, out, errors);
}
