/* attar emit --selftest: a folder with the model's C, its packed weights, and a program that runs it on a golden input
 * and compares, to be compiled for the machine that is meant and run there. The program's C stands in three parts: its
 * fixed beginning, tables and the call of this model, and its fixed end. */
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "runtime/file.h"

typedef struct Selftest {
    Tool *t;
    Arena *arena;
    const Plan *plan;
    const char *golden;
    HostTensor *inputs, *wanted;
    int n_inputs, n_wanted;
    const Tolerance *tolerance;
    int64_t *sizes; /* of the symbols, all positions at once */
    int step;       /* the symbol of the positions that a call adds to the caches, or -1 */
    bool in_steps;  /* token by token gives the same outputs */
} Selftest;

/* ---- the fixed parts --------------------------------------------------------------------------------------------- */

static const char head[] =
    "#include <math.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n"
    "#include <string.h>\n#ifndef __wasm__\n#include <pthread.h>\n#endif\n\n"
    "typedef struct Tensor {\n"
    "    const char *name;\n"
    "    const void *data;               /* of an output what is expected, in double */\n"
    "    char kind;                      /* f32 'f', i32 'i', i64 'l', bool 'b' */\n"
    "    ptrdiff_t outer, steps, inner;  /* steps: positions along the axis that calls go along; 0: it has none */\n"
    "    double tolerance;\n"
    "} Tensor;\n\n"
    "static void *kept[64];\n"
    "static int n_kept;\n\n"
    "/* Zeroed, at a multiple of 64 bytes, 64 more can be read; until the end of the run. */\n"
    "static void *room(size_t bytes)\n{\n"
    "    size_t whole = (bytes + 127) / 64 * 64;\n"
    "    void *memory = n_kept < 64 ? aligned_alloc(64, whole) : NULL;\n"
    "    if (!memory) {\n        puts(\"not enough memory\");\n        exit(1);\n    }\n"
    "    return kept[n_kept++] = memset(memory, 0, whole);\n}\n\n"
    "static size_t bytes_of(const Tensor *t) { return t->kind == 'l' ? 8 : t->kind == 'b' ? 1 : 4; }\n\n"
    "static size_t count_of(const Tensor *t, ptrdiff_t steps)\n{\n"
    "    return (size_t)(t->outer * (t->steps ? steps : 1) * t->inner);\n}\n\n"
    "/* Positions at .. at + steps of an input. */\n"
    "static void *part(const Tensor *t, ptrdiff_t at, ptrdiff_t steps)\n{\n"
    "    size_t inner = bytes_of(t) * (size_t)t->inner, row = inner * (size_t)(t->steps ? steps : 1);\n"
    "    char *to = room(bytes_of(t) * count_of(t, steps));\n"
    "    for (ptrdiff_t i = 0; i < t->outer; i++)\n"
    "        memcpy(to + (size_t)i * row, (const char *)t->data + inner * (size_t)(t->steps ? i * t->steps + at : i), row);\n"
    "    return to;\n}\n\n"
    "static double element(const Tensor *t, const void *data, size_t i)\n{\n"
    "    return t->kind == 'f' ? (double)((const float *)data)[i] : t->kind == 'i' ? (double)((const int *)data)[i]\n"
    "         : t->kind == 'l' ? (double)((const int64_t *)data)[i] : (double)((const unsigned char *)data)[i];\n}\n\n"
    "/* The largest difference from what is expected at the positions at .. at + steps. */\n"
    "static double difference(const Tensor *t, const void *got, ptrdiff_t at, ptrdiff_t steps)\n{\n"
    "    const double *want = t->data;\n"
    "    ptrdiff_t length = t->steps ? steps : 1;\n"
    "    double most = 0;\n"
    "    for (ptrdiff_t i = 0; i < t->outer; i++)\n"
    "        for (ptrdiff_t s = 0; s < length; s++)\n"
    "            for (ptrdiff_t j = 0; j < t->inner; j++) {\n"
    "                double g = element(t, got, (size_t)((i * length + s) * t->inner + j));\n"
    "                double w = want[(t->steps ? i * t->steps + at + s : i) * t->inner + j], off = fabs(g - w);\n"
    "                if (g == w || (isnan(g) && isnan(w)))\n                    continue;\n"
    "                most = isnan(off) ? INFINITY : fmax(most, off);\n            }\n"
    "    return most;\n}\n\n";

static const char running[] =
    "typedef struct Part {\n    const uintptr_t *call;\n    ptrdiff_t thread;\n} Part;\n\n"
    "static void *run_part(void *state)\n{\n"
    "    const Part *p = state;\n"
    "    return (void *)(intptr_t)MODEL_run(p->call, p->thread);\n}\n\n"
    "/* Runs on `threads` threads; outputs go to `results`. */\n"
    "static int run(ptrdiff_t at, ptrdiff_t steps, ptrdiff_t threads, void **results)\n{\n"
    "    int64_t *fault = room(32);\n"
    "    memset(meet, 0, sizeof meet);\n"
    "    uintptr_t *call = call_of(at, steps, threads, fault, results);\n"
    "    Part first = {call, 0};\n"
    "#ifndef __wasm__\n"
    "    Part second = {call, 1};\n"
    "    pthread_t other;\n"
    "    if (threads == 2 && pthread_create(&other, NULL, run_part, &second))\n        return 1;\n"
    "#endif\n"
    "    int failed = run_part(&first) != NULL;\n"
    "#ifndef __wasm__\n"
    "    void *status = NULL;\n"
    "    if (threads == 2)\n        failed |= pthread_join(other, &status) || status;\n"
    "#endif\n"
    "    return failed || fault[0];\n}\n\n"
    "static void forget(void)\n{\n    while (n_kept)\n        free(kept[--n_kept]);\n}\n\n"
    "static int report(const char *how, const double *off)\n{\n"
    "    int failed = 0;\n"
    "    for (int i = 0; i < OUTPUTS; i++) {\n"
    "        failed += !(off[i] <= outputs[i].tolerance);\n"
    "        printf(\"%-16s %-16s max abs error %-10.3g tolerance %-10.3g %s\\n\", outputs[i].name, how, off[i],\n"
    "               outputs[i].tolerance, off[i] <= outputs[i].tolerance ? \"PASS\" : \"FAIL\");\n    }\n"
    "    return failed;\n}\n\n"
    "/* All positions at once on one thread and on two: the same bits. */\n"
    "static int at_once(void)\n{\n"
    "    void *results[OUTPUTS], *again[OUTPUTS];\n"
    "    double off[OUTPUTS];\n"
    "    int failed = run(0, STEPS, 1, results);\n"
    "    for (int i = 0; i < OUTPUTS; i++)\n"
    "        off[i] = failed ? INFINITY : difference(&outputs[i], results[i], 0, STEPS);\n"
    "    failed += report(\"at once\", off);\n"
    "#ifndef __wasm__\n"
    "    for (int round = 0; round < 3 && !failed; round++) {\n"
    "        failed = run(0, STEPS, 2, again);\n"
    "        for (int i = 0; i < OUTPUTS; i++)\n"
    "            failed |= memcmp(results[i], again[i], bytes_of(&outputs[i]) * count_of(&outputs[i], STEPS)) != 0;\n"
    "        if (failed)\n            puts(\"two threads: other bits than one\");\n    }\n"
    "#else\n    (void)again;\n#endif\n"
    "    forget();\n    return failed;\n}\n\n";

static const char stepping[] =
    "/* Token by token, with the caches. */\n"
    "static int in_steps(void)\n{\n"
    "    void *results[OUTPUTS];\n"
    "    double off[OUTPUTS] = {0};\n"
    "    int failed = 0;\n"
    "    for (ptrdiff_t at = 0; at < STEPS && !failed; at++) {\n"
    "        failed = run(at, 1, 1, results);\n"
    "        for (int i = 0; i < OUTPUTS; i++)\n"
    "            if (outputs[i].steps || at == STEPS - 1)\n"
    "                off[i] = failed ? INFINITY : fmax(off[i], difference(&outputs[i], results[i], at, 1));\n"
    "        forget();\n    }\n"
    "    return failed + report(\"token by token\", off);\n}\n\n";

static const char ending[] =
    "int main(int argc, char **argv)\n{\n"
    "    FILE *f = argc == 2 ? fopen(argv[1], \"rb\") : NULL;\n"
    "    weights = aligned_alloc(64, WEIGHT_BYTES + 64);\n"
    "    if (!f || !weights || fread(weights, 1, WEIGHT_BYTES, f) != WEIGHT_BYTES || fgetc(f) != EOF) {\n"
    "        puts(\"usage: selftest FILE, with the weights that were written beside the model\");\n        return 2;\n    }\n"
    "    fclose(f);\n";

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void put_number(Text *out, DType kind, bool expected, double value)
{
    if (isnan(value))
        text_add(out, "NAN");
    else if (isinf(value))
        text_add(out, value > 0 ? "INFINITY" : "-INFINITY");
    else if (expected)
        text_add(out, "%.16e", value);
    else if (kind == DT_F32)
        text_add(out, "%.8ef", value);
    else
        text_add(out, "%lld", (long long)value);
}

static const char *c_type(DType t)
{
    return t == DT_F32 ? "float" : t == DT_I32 ? "int" : t == DT_I64 ? "int64_t" : "unsigned char";
}

static char kind_of(DType t)
{
    return t == DT_F32 ? 'f' : t == DT_I32 ? 'i' : t == DT_I64 ? 'l' : 'b';
}

static void put_values(Text *out, const char *name, int i, DType kind, bool expected, const HostTensor *t)
{
    int64_t count = host_count(t);
    text_add(out, "static const %s %s_%d[] = { /* %s ", expected ? "double" : c_type(kind), name, i, t->name);
    tensors_describe(t, out);
    text_add(out, " */");
    for (int64_t j = 0; j < count || !j; j++) {
        text_add(out, j % 8 ? " " : "\n    ");
        put_number(out, kind, expected, j < count ? host_get(t, j) : 0);
        text_char(out, ',');
    }
    text_add(out, "\n};\n");
}

/* A row of `inputs` or `outputs`. */
static void put_row(Selftest *s, Text *out, const char *values, int i, const PlanTensor *p, const HostTensor *t, double tolerance)
{
    int axis = s->step < 0 ? -1 : signature_axis(p, s->step);
    int64_t outer = 1, inner = 1;
    for (int a = 0; a < t->rank; a++)
        *(a < axis ? &outer : &inner) *= a == axis ? 1 : t->dims[a];
    text_add(out, "    {\"%s\", %s_%d, '%c', %lld, %lld, %lld, %g},\n", p->name, values, i, kind_of(p->dtype), (long long)outer,
             axis < 0 ? 0ll : (long long)t->dims[axis], (long long)inner, tolerance);
}

static double largest_of(const HostTensor *t)
{
    double largest = 0;
    for (int64_t i = 0; i < host_count(t); i++)
        largest = isfinite(host_get(t, i)) ? fmax(largest, fabs(host_get(t, i))) : largest;
    return largest;
}

static void put_tables(Selftest *s, Text *out)
{
    const Plan *p = s->plan;
    Text rows = text_new(s->arena);
    text_add(&rows, "static const Tensor inputs[] = {\n");
    for (int i = 0; i < p->n_inputs; i++) {
        const HostTensor *t = tensors_find(s->inputs, s->n_inputs, p->inputs[i].name);
        put_values(out, "input", i, p->inputs[i].dtype, false, t);
        put_row(s, &rows, "input", i, &p->inputs[i], t, 0);
    }
    text_add(&rows, "};\n\nenum { OUTPUTS = %d };\nstatic const Tensor outputs[OUTPUTS] = {\n", p->n_outputs);
    for (int i = 0; i < p->n_outputs; i++) {
        const HostTensor *t = tensors_find(s->wanted, s->n_wanted, p->outputs[i].name);
        put_values(out, "expected", i, p->outputs[i].dtype, true, t);
        put_row(s, &rows, "expected", i, &p->outputs[i], t, tolerance_of(s->tolerance, t, largest_of(t)));
    }
    text_add(out, "\n%s};\n\n", rows.data);
}

/* ---- the call ---------------------------------------------------------------------------------------------------- */

static const char *size_text(Selftest *s, int i)
{
    return s->plan->symbols[i].past ? "at" : i == s->step ? "steps" : arena_print(s->arena, "%lld", (long long)s->sizes[i]);
}

static const char *slot_text(Selftest *s, Slot slot)
{
    int i = slot.index;
    switch (slot.kind) {
    case SLOT_INPUT: return arena_print(s->arena, "(uintptr_t)part(&inputs[%d], at, steps), /* %s */", i, s->plan->inputs[i].name);
    case SLOT_OUTPUT: return arena_print(s->arena, "(uintptr_t)results[%d], /* %s */", i, s->plan->outputs[i].name);
    case SLOT_WEIGHTS: return "(uintptr_t)weights,";
    case SLOT_ARENA: return arena_print(s->arena, "(uintptr_t)room(%s_arena_bytes(sizes, threads)),", s->plan->name);
    case SLOT_CACHE: return arena_print(s->arena, "(uintptr_t)cache_%d, /* %s */", i, s->plan->caches[i].name);
    case SLOT_SIZE: return arena_print(s->arena, "(uintptr_t)sizes[%d], /* %s */", i, s->plan->symbols[i].name);
    case SLOT_THREADS: return "(uintptr_t)threads,";
    case SLOT_MEET: return "(uintptr_t)meet,";
    case SLOT_FAULT: return "(uintptr_t)fault,";
    default: return "0,";
    }
}

static void put_call(Selftest *s, Text *out)
{
    const Plan *p = s->plan;
    text_add(out, "int %s_run(const void *call, ptrdiff_t thread);\nsize_t %s_arena_bytes(const int64_t *sizes, ptrdiff_t threads);\n\n", p->name, p->name);
    text_add(out, "#define MODEL_run %s_run\n#define WEIGHT_BYTES ((size_t)%llu)\nstatic char *weights;\n", p->name, (unsigned long long)p->weight_bytes);
    for (int i = 0; i < p->n_caches; i++) {
        const PlanTensor *c = &p->caches[i];
        bool by_batch = c->rank > 0 && c->growing != 0 && c->dims[0].n > 0;
        uint64_t bytes = c->bytes_per_row * (uint64_t)(by_batch ? s->sizes[c->dims[0].symbol[0]] : 1) * (uint64_t)c->layers;
        text_add(out, "static _Alignas(64) char cache_%d[%llu]; /* %s */\n", i, (unsigned long long)bytes + 64, c->name);
    }
    text_add(out, "static _Alignas(128) char meet[512]; /* of two threads */\n\n");
    text_add(out, "/* The members of struct %s_call, in its order. */\n", p->name);
    text_add(out, "static uintptr_t *call_of(ptrdiff_t at, ptrdiff_t steps, ptrdiff_t threads, int64_t *fault, void **results)\n{\n"
                  "    const int64_t sizes[] = {");
    for (int i = 0; i < p->n_symbols; i++)
        text_add(out, "%s%s", i ? ", " : "", size_text(s, i));
    text_add(out, "%s};\n    for (int i = 0; i < OUTPUTS; i++)\n"
                  "        results[i] = room(bytes_of(&outputs[i]) * count_of(&outputs[i], steps));\n"
                  "    const uintptr_t members[] = {\n", p->n_symbols ? "" : "0");
    for (int i = 0; i < p->n_slots; i++)
        text_add(out, "        %s\n", slot_text(s, p->slots[i]));
    text_add(out, "    };\n    (void)at, (void)sizes;\n    return memcpy(room(sizeof members), members, sizeof members);\n}\n\n");
}

static const char *program_text(Selftest *s)
{
    const char *name = s->plan->name;
    Text out = text_new(s->arena);
    text_add(&out,
             "/* Runs the model of %s.c on an input and compares with what it should give, which was computed in float64:\n"
             " *\n *     cc [flags as in %s.c] %s.c selftest.c -lm -lpthread -o selftest && ./selftest %s.weights\n */\n",
             name, name, name, name);
    text_add(&out, "%s", head);
    put_tables(s, &out);
    text_add(&out, "enum { STEPS = %lld };\n\n", s->step < 0 ? 1ll : (long long)s->sizes[s->step]);
    put_call(s, &out);
    text_add(&out, "%s%s%s", running, s->in_steps ? stepping : "", ending);
    text_add(&out, "    int failed = at_once()%s;\n    free(weights);\n    puts(failed ? \"FAIL\" : \"PASS\");\n    return failed != 0;\n}\n",
             s->in_steps ? " + in_steps()" : "");
    return out.data;
}

/* ---- the folder -------------------------------------------------------------------------------------------------- */

static bool has_all(Selftest *s)
{
    Diags *d = &s->t->c.diags;
    for (int i = 0; i < s->plan->n_inputs; i++)
        if (!tensors_find(s->inputs, s->n_inputs, s->plan->inputs[i].name)) {
            diag_file_error(d, "E0656", s->golden, NULL, "it has no `input.%s`", s->plan->inputs[i].name);
            return false;
        }
    for (int i = 0; i < s->plan->n_outputs; i++)
        if (!tensors_find(s->wanted, s->n_wanted, s->plan->outputs[i].name)) {
            diag_file_error(d, "E0656", s->golden, NULL, "it has no `output.%s`", s->plan->outputs[i].name);
            return false;
        }
    return true;
}

static bool same_sizes(Selftest *s, const PlanTensor *p, const HostTensor *t, const char *side)
{
    bool same = p->rank == t->rank;
    for (int a = 0; same && a < p->rank; a++)
        same = signature_size(&p->dims[a], s->sizes) == t->dims[a];
    if (!same)
        diag_file_error(&s->t->c.diags, "E0656", s->golden, arena_print(s->arena, "tensor `%s.%s`", side, p->name), "its sizes are not the model's");
    return same;
}

static bool take_sizes(Selftest *s)
{
    const Plan *p = s->plan;
    s->sizes = arena_array(s->arena, (size_t)p->n_symbols + 1, sizeof *s->sizes);
    s->step = p->n_caches ? signature_step(p) : -1;
    s->in_steps = p->n_caches && s->step >= 0 && !signature_measures(s->t->c.model.graph);
    int64_t batch = signature_batch_size(p, s->inputs, s->n_inputs);
    if (!signature_sizes(&s->t->c.cx, p, NULL, 0, s->inputs, s->n_inputs, batch, 1, s->sizes))
        return false;
    bool good = true;
    for (int i = 0; i < p->n_inputs && good; i++)
        good = same_sizes(s, &p->inputs[i], tensors_find(s->inputs, s->n_inputs, p->inputs[i].name), "input");
    for (int i = 0; i < p->n_outputs && good; i++)
        good = same_sizes(s, &p->outputs[i], tensors_find(s->wanted, s->n_wanted, p->outputs[i].name), "output");
    return good;
}

static bool save(Selftest *s, const char *folder, const char *file, const void *data, size_t bytes)
{
    Writer w;
    writer_open(&s->t->c.cx, &w, arena_print(s->arena, "%s/%s", folder, file));
    writer_put(&w, data, bytes);
    return writer_close(&s->t->c.cx, &w);
}

bool selftest_write(Tool *t, const char *golden, const char *folder)
{
    Compilation *c = &t->c;
    Selftest s = {.t = t, .arena = &c->arena, .plan = &c->emitted.plan, .golden = golden, .step = -1};
    int count;
    HostTensor *all = safetensors_load(&c->cx, golden, &count);
    if (!all)
        return false;
    tensors_split(&c->cx, all, count, &s.inputs, &s.n_inputs, &s.wanted, &s.n_wanted);
    Tolerance *tolerance = has_all(&s) && take_sizes(&s) ? tolerance_read(&c->cx, golden, NULL) : NULL;
    s.tolerance = tolerance;
    if (!tolerance || !compile_pack(c, &t->o->compile)) {
        tolerance_free(tolerance);
        return false;
    }
    const char *program = program_text(&s);
    tolerance_free(tolerance);
    mkdir(folder, 0777); /* if it is there already or cannot be made, the writer says so */
    return save(&s, folder, arena_print(s.arena, "%s.c", s.plan->name), c->emitted.text, c->emitted.length) &&
           save(&s, folder, arena_print(s.arena, "%s.weights", s.plan->name), c->packed.data, s.plan->weight_bytes) &&
           save(&s, folder, "selftest.c", program, strlen(program));
}
