/* What the files of a built model share: their targets, names in texts, and the call that selftest.c makes. */
#include "driver/ship.h"

#include <math.h>
#include <string.h>

#include "driver/oracle.h"
#include "driver/signature.h"

void ship_named(const Shipment *s, Text *out, const char *text)
{
    for (const char *p = text; *p; p++)
        if (p[0] == '@' && p[1] == '@')
            text_add(out, "%s", s->code->upper), p++;
        else if (*p == '@')
            text_add(out, "%s", s->code->name);
        else
            text_char(out, *p == '\x01' ? '@' : *p);
}

/* ---- targets ----------------------------------------------------------------------------------------------------- */

const Target **ship_targets(Compilation *c, const char *list, int *count)
{
    const Target **out = arena_array(&c->arena, (size_t)target_count + 1, sizeof *out);
    *count = 0;
    for (const char *at = list ? list : "native"; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        CompileOptions one = {.target = arena_copy(&c->arena, at, strcspn(at, ","))};
        if (!*one.target) {
            diag_file_error(&c->diags, "E0852", NULL, NULL, "`%s` has an empty name: targets have one comma between them", list);
            return NULL;
        }
        const Target *t = compile_target(c, &one);
        if (!t)
            return NULL;
        for (int i = 0; i < *count; i++)
            if (out[i] == t) {
                diag_file_error(&c->diags, "E0852", NULL, NULL, "`%s` names the target %s twice", list, t->name);
                return NULL;
            }
        out[(*count)++] = t;
    }
    return out;
}

/* ---- what a call should give ------------------------------------------------------------------------------------- */

enum { BATCH = 2, LENGTH = 7, MOST_EXPECTED = 1 << 16 };

static double elements(const Plan *p, const int64_t *sizes)
{
    double sum = 0;
    for (int i = 0; i < p->n_outputs; i++) {
        double n = 1;
        for (int a = 0; a < p->outputs[i].rank; a++)
            n *= (double)signature_size(&p->outputs[i].dims[a], sizes);
        sum += n;
    }
    return sum;
}

/* Few positions, fewer where outputs are wide: all of them stand in the program's text. */
static bool small_sizes(Shipment *s, int64_t *sizes)
{
    const Plan *p = s->code->plan;
    for (int64_t batch = BATCH, length = LENGTH;; batch = 1, length = length > 3 ? 3 : length - 1)
        if (!signature_sizes(&s->c->cx, p, NULL, 0, NULL, 0, batch, length, sizes))
            return false;
        else if (length == 1 || elements(p, sizes) <= MOST_EXPECTED)
            return true;
}

static HostTensor tensor_of(Arena *a, const PlanTensor *p, const Value *v, const int64_t *sizes)
{
    HostTensor t = {.name = p->name, .dtype = DT_F64, .rank = p->rank};
    for (int i = 0; i < p->rank; i++)
        t.dims[i] = signature_size(&p->dims[i], sizes);
    t.data = arena_array(a, (size_t)v->count + 1, sizeof(double));
    memcpy(t.data, v->data, (size_t)v->count * sizeof(double));
    return t;
}

static double largest_of(const HostTensor *t)
{
    double largest = 0;
    for (int64_t i = 0; i < host_count(t); i++)
        largest = isfinite(host_get(t, i)) ? fmax(largest, fabs(host_get(t, i))) : largest;
    return largest;
}

/* float against float64 over a whole model; operands that were rounded to bf16 fall to either side of a number. */
static double tolerance_for(const Shipment *s, const PlanTensor *p, const HostTensor *want)
{
    double part = approximations_have(&s->c->approximations, "compute-bf16") ? 0x1p-5 : 2e-5;
    return dtype_is_float(p->dtype) ? part * fmax(1, largest_of(want)) : 0;
}

bool ship_compute(Shipment *s, const HostTensor *inputs, uint64_t seed)
{
    Compilation *c = s->c;
    const Plan *p = s->code->plan;
    c->emitted.plan = *p; /* the oracle's */
    int64_t *sizes = arena_array(&c->arena, (size_t)p->n_symbols + 1, sizeof *sizes);
    if (inputs)
        memcpy(sizes, s->test.sizes, (size_t)p->n_symbols * sizeof *sizes);
    else if (!small_sizes(s, sizes) || !(inputs = signature_random(&c->cx, p, c->model.graph, sizes, seed)))
        return false;
    Oracle oracle;
    oracle_begin(&oracle, c, c->approximations.count ? c->kernels : c->model.graph);
    const Value *results = oracle_run(&oracle, sizes, inputs, p->n_inputs, false);
    HostTensor *wanted = arena_array(&c->arena, (size_t)p->n_outputs + 1, sizeof *wanted);
    double *tolerance = arena_array(&c->arena, (size_t)p->n_outputs + 1, sizeof *tolerance);
    for (int i = 0; results && i < p->n_outputs; i++) {
        wanted[i] = tensor_of(&c->arena, &p->outputs[i], &results[i], sizes);
        tolerance[i] = tolerance_for(s, &p->outputs[i], &wanted[i]);
    }
    oracle_free(&oracle);
    s->test.inputs = inputs;
    s->test.wanted = wanted;
    s->test.tolerance = tolerance;
    s->test.sizes = sizes;
    return results != NULL;
}
