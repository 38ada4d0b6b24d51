/* One pair of an adapter: complete, as the configuration has it, and of a shape that the weight takes. */
#include <string.h>

#include "driver/adapter_inside.h"
#include "runtime/file.h"

/* ---- messages ---------------------------------------------------------------------------------------------------- */

const char *tensor_place(Reader *r, const HostTensor *t)
{
    return arena_print(r->cx->arena, "tensor `%s`", file_shown(r->cx, t->name));
}

const char *module_place(Reader *r, const Draft *d)
{
    return arena_print(r->cx->arena, "module `%s`", file_shown(r->cx, d->path));
}

const char *tensor_shape(Reader *r, const HostTensor *t)
{
    Text out = text_new(r->cx->arena);
    for (int i = 0; i < t->rank; i++)
        text_add(&out, i ? ", %lld" : "%lld", (long long)t->dims[i]);
    return out.data ? out.data : "";
}

/* ---- one pair without its weight --------------------------------------------------------------------------------- */

bool draft_is_table(const Draft *d)
{
    return d->parts[PEFT_TABLE_A] || d->parts[PEFT_TABLE_B];
}

const HostTensor *draft_a(const Draft *d)
{
    return d->parts[draft_is_table(d) ? PEFT_TABLE_A : PEFT_A];
}

const HostTensor *draft_b(const Draft *d)
{
    return d->parts[draft_is_table(d) ? PEFT_TABLE_B : PEFT_B];
}

static bool check_halves(Reader *r, const Draft *d)
{
    const char *where = module_place(r, d);
    const PeftConfig *c = &r->config;
    if (draft_is_table(d) && (d->parts[PEFT_A] || d->parts[PEFT_B]))
        return FAIL("E0687", where, "a pair of a linear layer and one of an embedding at once");
    if (!draft_a(d))
        return FAIL("E0676", where, "%s is missing", draft_is_table(d) ? "lora_embedding_A" : "lora_A");
    if (!draft_b(d))
        return FAIL("E0676", where, "%s is missing", draft_is_table(d) ? "lora_embedding_B" : "lora_B");
    if (c->dora && !d->parts[PEFT_MAGNITUDE])
        return FAIL("E0676", where, "lora_magnitude_vector is missing, and the configuration says `use_dora`");
    if (!c->dora && d->parts[PEFT_MAGNITUDE])
        return FAIL("E0687", where, "the file has lora_magnitude_vector, but the configuration does not say `use_dora`");
    if (c->bias && !draft_is_table(d) && !d->parts[PEFT_BIAS])
        return FAIL("E0676", where, "the bias of lora_B is missing, and the configuration says `lora_bias`");
    if (d->parts[PEFT_BIAS] && (!c->bias || draft_is_table(d)))
        return FAIL("E0687", where, "the file has a bias of lora_B, but the configuration does not say `lora_bias`");
    if (c->n_targets >= 0 && !peft_names(c->targets, c->n_targets, d->path))
        return FAIL("E0687", where, "the file has a pair for it, but `target_modules` does not name it");
    return true;
}

static bool check_dtypes(Reader *r, const Draft *d)
{
    for (int p = 0; p < PEFT_PARTS; p++)
        if (d->parts[p] && !dtype_is_float(d->parts[p]->dtype))
            return FAIL("E0680", tensor_place(r, d->parts[p]), "%s is no type of numbers with a point",
                        dtype_name(d->parts[p]->dtype));
    if (draft_a(d)->dtype != draft_b(d)->dtype)
        return FAIL("E0680", module_place(r, d), "A is %s and B is %s; both halves of a pair have one type",
                    dtype_name(draft_a(d)->dtype), dtype_name(draft_b(d)->dtype));
    return true;
}

/* The element count of axes [from, rank). */
int64_t tensor_inner(const HostTensor *t, int from)
{
    int64_t n = 1;
    for (int i = from; i < t->rank; i++)
        n *= t->dims[i];
    return n;
}

bool check_ranks(Reader *r, const Draft *d, int64_t *rank, double *alpha)
{
    const HostTensor *a = draft_a(d), *b = draft_b(d);
    const char *where = module_place(r, d);
    if (!peft_config_of(r->cx, &r->config, d->path, rank, alpha))
        return false;
    if (a->rank < 2 || b->rank != a->rank || (draft_is_table(d) && a->rank != 2))
        return FAIL("E0677", where, "A is [%s] and B is [%s]: a pair of this kind has two matrices", tensor_shape(r, a), tensor_shape(r, b));
    if (tensor_inner(b, 2) != 1)
        return FAIL("E0677", where, "A is [%s] and B is [%s]: behind B's outputs and rank only axes of size 1 may follow", tensor_shape(r, a),
                    tensor_shape(r, b));
    if (a->dims[0] == b->dims[1] && a->dims[0] == *rank)
        return true;
    if (a->dims[1] == *rank && b->dims[0] == *rank && a->rank == 2) {
        Diag *e = diag_file_error(r->cx->diags, "E0677", r->a->file, where, "A is [%s] and B is [%s]: both are turned", tensor_shape(r, a), tensor_shape(r, b));
        diag_help(e, "A is [rank, inputs] and B is [outputs, rank]; `fan_in_fan_out` says how the base's weight is stored, not the pair");
        return false;
    }
    if (a->dims[0] != b->dims[1])
        return FAIL("E0677", where, "A has rank %lld and B has rank %lld", (long long)a->dims[0], (long long)b->dims[1]);
    return FAIL("E0674", where, "A and B have rank %lld, but the configuration says %lld", (long long)a->dims[0], (long long)*rank);
}

static bool check_vectors(Reader *r, const Draft *d)
{
    static const PeftPart vectors[] = {PEFT_MAGNITUDE, PEFT_BIAS};
    for (int i = 0; i < 2; i++) {
        const HostTensor *v = d->parts[vectors[i]];
        int64_t outputs = draft_b(d)->dims[0];
        if (v && (v->rank < 1 || host_count(v) != outputs || (vectors[i] == PEFT_BIAS && v->rank != 1)))
            return FAIL("E0677", tensor_place(r, v), "it is [%s]; there are %lld outputs", tensor_shape(r, v), (long long)outputs);
    }
    return true;
}

/* ---- against the weight ------------------------------------------------------------------------------------------ */

static bool fits_straight(const Draft *d, const HostTensor *w)
{
    const HostTensor *a = draft_a(d);
    if (w->rank != a->rank || w->dims[0] != draft_b(d)->dims[0])
        return false;
    for (int i = 1; i < w->rank; i++)
        if (w->dims[i] != a->dims[i])
            return false;
    return true;
}

static bool fits_turned(const Draft *d, const HostTensor *w)
{
    return w->rank == 2 && draft_a(d)->rank == 2 && w->dims[0] == draft_a(d)->dims[1] && w->dims[1] == draft_b(d)->dims[0];
}

bool adapter_is_head(const char *module)
{
    static const char *const heads[] = {"lm_head", "embed_out"};
    return peft_names(heads, 2, module);
}

const HostTensor *draft_weight(Reader *r, const Draft *d)
{
    return r->base ? checkpoint_find(r->base, peft_key(r->cx->arena, d->module, "weight")) : NULL;
}

static bool misfit(Reader *r, const Draft *d, const HostTensor *w)
{
    const HostTensor *a = draft_a(d), *b = draft_b(d);
    const char *where = module_place(r, d);
    int64_t rows = draft_is_table(d) ? a->dims[1] : b->dims[0];
    bool others = w->rank == 2 && w->dims[1] == (draft_is_table(d) ? b->dims[0] : a->dims[1]);
    if (others && (draft_is_table(d) || adapter_is_head(d->module)))
        return FAIL("E0684", where, "the adapter was trained with %lld rows of this table, the checkpoint has %lld", (long long)rows,
                    (long long)w->dims[0]);
    Diag *e = diag_file_error(r->cx->diags, "E0677", r->a->file, where, "A is [%s] and B is [%s], but the weight is [%s]", tensor_shape(r, a),
                              tensor_shape(r, b), tensor_shape(r, w));
    diag_note(e, "the pair takes %lld inputs to %lld outputs", (long long)tensor_inner(a, 1), (long long)b->dims[0]);
    return false;
}

/* One module's weight is there, of numbers, and of a shape that the pair fits in one of the two ways. */
static bool check_weight(Reader *r, Draft *d)
{
    const HostTensor *w = draft_weight(r, d);
    if (!w) {
        d->straight = true; /* a tied head: what it reads is known with the model */
        return true;
    }
    if (!dtype_is_float(w->dtype))
        return FAIL("E0680", module_place(r, d), "the checkpoint has this weight as %s: an adapter cannot be added to it", dtype_name(w->dtype));
    d->straight = !draft_is_table(d) && fits_straight(d, w);
    d->other = fits_turned(d, w);
    return d->straight || d->other || misfit(r, d, w);
}

/* PEFT sets `fan_in_fan_out` for each module by itself and stores what the last one had, so the shapes decide where they can. */
bool check_turns(Reader *r)
{
    const Draft *against = NULL;
    int agree = 0, disagree = 0;
    for (int i = 0; r->base && i < r->n_drafts; i++) {
        const Draft *d = &r->drafts[i];
        if (draft_is_table(d) || d->straight == d->other || !draft_weight(r, d))
            continue;
        bool good = d->other == r->config.turned;
        agree += good;
        disagree += !good;
        against = good ? against : d;
    }
    r->mixed = agree && disagree;
    if (!disagree || r->mixed)
        return true;
    Diag *e = diag_file_error(r->cx->diags, "E0677", r->a->file, module_place(r, against), "the weight is [%s], which is %s",
                              tensor_shape(r, draft_weight(r, against)), against->other ? "[inputs, outputs]" : "[outputs, inputs]");
    diag_help(e, "`fan_in_fan_out` in %s has to be %s", r->config.path, against->other ? "true" : "false");
    return false;
}

bool draft_turned(const Reader *r, const Draft *d)
{
    return draft_is_table(d) || (d->straight && d->other ? r->config.turned : r->base ? d->other : r->config.turned);
}

bool check_square(Reader *r, const Draft *d)
{
    if (!r->mixed || draft_is_table(d) || !d->straight || !d->other)
        return true;
    return FAIL("E0677", module_place(r, d),
                "the weight is square, and the adapter has weights stored [outputs, inputs] and others stored [inputs, outputs]: "
                "which way round this one is cannot be told");
}

bool check_pair(Reader *r, Draft *d)
{
    int64_t rank;
    double alpha;
    return check_halves(r, d) && check_dtypes(r, d) && check_ranks(r, d, &rank, &alpha) && check_vectors(r, d) && check_weight(r, d);
}
