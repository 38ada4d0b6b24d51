/* Kernels whose code is the same but for names: two norms of a layer, the same block written twice. The first is
 * emitted, and called for the others with their pointers and sizes. */
#include "codegen/emit.h"
#include "codegen/units.h"

#include <ctype.h>
#include <string.h>

typedef struct Side {
    const KernelText *kernel;
    const char *at, *end, *word; /* `word`: the token that is looked at, up to `at` */
    Map other;                   /* word -> the other side's */
} Side;

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* The next token that is no space and no comment: a word, a number, or one sign. */
static bool next_token(Side *s)
{
    for (;;) {
        while (s->at < s->end && isspace((unsigned char)*s->at))
            s->at++;
        if (s->end - s->at < 2 || s->at[0] != '/' || s->at[1] != '*')
            break;
        const char *close = memmem(s->at + 2, (size_t)(s->end - s->at) - 2, "*/", 2);
        s->at = close ? close + 2 : s->end;
    }
    s->word = s->at;
    if (s->at == s->end)
        return false;
    if (!in_word(*s->at++))
        return true;
    bool number = isdigit((unsigned char)*s->word);
    while (s->at < s->end && (in_word(*s->at) || (number && *s->at == '.')))
        s->at++;
    return true;
}

/* What follows the kernel's name in the names of its own functions; NULL: the word is none of these. */
static const char *own_part(const Side *s, const char *word)
{
    size_t n = strlen(s->kernel->function);
    return !strncmp(word, s->kernel->function, n) && (!word[n] || word[n] == '_') ? word + n : NULL;
}

/* May the words stand for each other? Those that are not names which the kernels gave must be equal. */
static bool may_match(const Side *a, const char *x, const Side *b, const char *y)
{
    if (!strcmp(x, y))
        return true;
    const char *p = own_part(a, x), *q = own_part(b, y);
    return p && q ? !strcmp(p, q) : scope_gave(&a->kernel->names, x) && scope_gave(&b->kernel->names, y);
}

/* One name here is one name there, and the other way round. */
static bool words_match(Arena *arena, Side *a, Side *b)
{
    const char *x = arena_copy(arena, a->word, (size_t)(a->at - a->word)),
               *y = arena_copy(arena, b->word, (size_t)(b->at - b->word));
    const char *known = map_get(&a->other, x), *back = map_get(&b->other, y);
    if (known || back)
        return known && back && !strcmp(known, y) && !strcmp(back, x);
    if (!may_match(a, x, b, y))
        return false;
    map_set(&a->other, x, (void *)(uintptr_t)y);
    map_set(&b->other, y, (void *)(uintptr_t)x);
    return true;
}

static bool same_code(Emitter *e, const KernelText *x, const KernelText *y)
{
    Arena *arena = e->cx->arena;
    const char *all = e->kernels.data;
    Side a = {.kernel = x, .at = all + x->from, .end = all + x->to, .other = map_new(arena)};
    Side b = {.kernel = y, .at = all + y->from, .end = all + y->to, .other = map_new(arena)};
    for (;;) {
        bool more = next_token(&a);
        if (more != next_token(&b))
            return false;
        if (!more)
            return true;
        bool word = in_word(*a.word) && !isdigit((unsigned char)*a.word);
        if (word ? !(in_word(*b.word) && words_match(arena, &a, &b))
                 : a.at - a.word != b.at - b.word || memcmp(a.word, b.word, (size_t)(a.at - a.word)) != 0)
            return false;
    }
}

const char *units_same(Emitter *e, const KernelText *kernel)
{
    for (size_t i = 0; i < e->n_parts; i++)
        if (same_code(e, &e->parts[i], kernel))
            return e->parts[i].function;
    return NULL;
}
