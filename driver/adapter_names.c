/* Names of an adapter's tensors: the module, the part that the tensor is, the adapter's own name dropped; and how the checkpoint
 * spells the module, which PEFT writes behind `base_model.model.`, and transformers with or without the name of the model's body. */
#include <string.h>

#include "driver/adapter_inside.h"

enum { MOST_PARTS = 64, MOST_FRONTS = 8 };

typedef struct Split { /* components of a name, begin[i] with length[i] */
    const char *begin[MOST_PARTS];
    size_t length[MOST_PARTS];
    int n;
} Split;

static bool split(const char *name, Split *out)
{
    out->n = 0;
    for (const char *c = name;; c++) {
        size_t length = strcspn(c, ".");
        if (out->n == MOST_PARTS || !length)
            return false;
        out->begin[out->n] = c;
        out->length[out->n++] = length;
        c += length;
        if (!*c)
            return true;
    }
}

static bool is(const Split *s, int i, const char *word)
{
    return i < s->n && s->length[i] == strlen(word) && !strncmp(s->begin[i], word, s->length[i]);
}

/* Components [from, to) with points between them. */
static void join(Text *out, const Split *s, int from, int to)
{
    for (int i = from; i < to; i++) {
        if (out->length)
            text_char(out, '.');
        text_put(out, s->begin[i], s->length[i]);
    }
}

static const char *joined(Arena *a, const Split *s, int from, int to)
{
    Text out = text_new(a);
    join(&out, s, from, to);
    return out.data ? out.data : "";
}

static const struct {
    const char *word;
    PeftPart part;
} parts[] = {{"lora_A", PEFT_A},
             {"lora_B", PEFT_B},
             {"lora_embedding_A", PEFT_TABLE_A},
             {"lora_embedding_B", PEFT_TABLE_B},
             {"lora_magnitude_vector", PEFT_MAGNITUDE}};

/* What stands behind the part's word: the adapter's name, which may be missing, and `weight` or `bias`. */
static PeftPart finish_part(const Split *s, int at, PeftPart part)
{
    int behind = s->n - at - 1;
    bool linear = part == PEFT_A || part == PEFT_B;
    if (linear && behind >= 1 && behind <= 2 && is(s, s->n - 1, "weight"))
        return part;
    if (part == PEFT_B && behind >= 1 && behind <= 2 && is(s, s->n - 1, "bias"))
        return PEFT_BIAS;
    if (!linear && (behind <= 1 || (behind == 2 && is(s, s->n - 1, "weight"))))
        return part;
    return PEFT_UNKNOWN;
}

PeftName peft_name(Arena *a, const char *stored)
{
    PeftName out = {.part = PEFT_UNKNOWN, .module = stored, .prefixed = !strncmp(stored, "base_model.", 11)};
    Split s;
    if (!split(stored + (out.prefixed ? 11 : 0), &s))
        return out;
    for (int i = 0; i < s.n; i++) {
        if (!strncmp(s.begin[i], "lora_", 5)) {
            out.module = joined(a, &s, 0, i);
            for (size_t p = 0; p < sizeof parts / sizeof *parts; p++)
                if (is(&s, i, parts[p].word))
                    out.part = i > 0 ? finish_part(&s, i, parts[p].part) : PEFT_UNKNOWN;
            return out;
        }
        bool base = is(&s, i, "base_layer"), saved = is(&s, i, "modules_to_save");
        if (is(&s, i, "original_module") || ((base || saved) && (i == 0 || s.n - i < (base ? 2 : 3))))
            return out;
        if (base || saved) { /* behind modules_to_save stands the adapter's name */
            Text module = text_new(a);
            join(&module, &s, 0, i);
            join(&module, &s, base ? i + 1 : i + 2, s.n - 1);
            return (PeftName){PEFT_WHOLE, module.data, out.prefixed, joined(a, &s, s.n - 1, s.n)};
        }
    }
    return (PeftName){PEFT_WHOLE, joined(a, &s, 0, s.n - 1), out.prefixed, joined(a, &s, s.n - 1, s.n)};
}

const char *peft_key(Arena *a, const char *module, const char *leaf)
{
    return *module ? arena_print(a, "%s.%s", module, leaf) : leaf;
}

/* ---- spelling ---------------------------------------------------------------------------------------------------- */

const char *peft_module(Arena *a, PeftSpelling s, const char *module)
{
    size_t drop = strlen(s.drop);
    if (strncmp(module, s.drop, drop) != 0)
        drop = 0;
    return *s.add ? arena_print(a, "%s%s", s.add, module + drop) : module + drop;
}

static int64_t known(Arena *a, PeftSpelling s, const PeftName *names, int64_t count, const Checkpoint *base)
{
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        if (names[i].part != PEFT_A && names[i].part != PEFT_TABLE_A && names[i].part != PEFT_WHOLE)
            continue;
        const char *leaf = names[i].part == PEFT_WHOLE ? names[i].leaf : "weight";
        n += checkpoint_find(base, peft_key(a, peft_module(a, s, names[i].module), leaf)) != NULL;
    }
    return n;
}

/* Adds the first component of a path, its point included, if it is not there yet. */
static void add_front(Arena *a, const char *path, const char **fronts, int *n)
{
    size_t length = strcspn(path, ".");
    if (!path[length] || *n == MOST_FRONTS)
        return;
    for (int i = 0; i < *n; i++)
        if (!strncmp(fronts[i], path, length + 1))
            return;
    fronts[(*n)++] = arena_copy(a, path, length + 1);
}

typedef struct Best {
    PeftSpelling spelling;
    int64_t known;
} Best;

static void try_one(Arena *a, PeftSpelling s, const PeftName *names, int64_t count, const Checkpoint *base, Best *best)
{
    int64_t n = known(a, s, names, count, base);
    if (n > best->known)
        *best = (Best){s, n};
}

PeftSpelling peft_spelling(Arena *a, const PeftName *names, int64_t count, const Checkpoint *base)
{
    PeftSpelling usual = {count > 0 && names[0].prefixed ? "model." : "", ""};
    Best best = {usual, 0};
    if (!base)
        return usual;
    try_one(a, usual, names, count, base, &best);
    try_one(a, (PeftSpelling){"", ""}, names, count, base, &best);
    if (best.known > 0)
        return best.spelling;
    /* The body of the model with its name in front, or without. */
    const char *fronts[MOST_FRONTS];
    int64_t tensors;
    const HostTensor *all = checkpoint_tensors(base, &tensors);
    int n = 0;
    for (int64_t i = 0; i < count; i++)
        add_front(a, peft_module(a, usual, names[i].module), fronts, &n);
    for (int i = 0; i < n; i++)
        try_one(a, (PeftSpelling){arena_print(a, "%s%s", usual.drop, fronts[i]), ""}, names, count, base, &best);
    n = 0;
    for (int64_t i = 0; i < tensors; i++)
        add_front(a, all[i].name, fronts, &n);
    for (int i = 0; i < n; i++)
        try_one(a, (PeftSpelling){usual.drop, fronts[i]}, names, count, base, &best);
    return best.spelling;
}
