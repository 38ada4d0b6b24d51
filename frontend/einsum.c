/* einsum("b s h k, b t h k -> b h s t", q, k): letters name positions, whatever the axes are called. Tensors are
 * multiplied from the left; a letter that neither the result nor a later tensor has is summed as soon as both
 * factors are there. */
#include "bind.h"

#include <ctype.h>
#include <string.h>

enum { MAX_TERMS = 8, MAX_LETTERS = 16 };

typedef struct Letters {
    const char *items[MAX_RANK];
    int n;
} Letters;

typedef struct Einsum {
    Bind *b;
    Call *c;
    Letters in[MAX_TERMS], out;
    int n;
    const char *letter[MAX_LETTERS], *axis[MAX_LETTERS]; /* the IR axis of each letter */
    Extent size[MAX_LETTERS];
    int n_letters;
} Einsum;

static bool refuse(Einsum *e, const char *why)
{
    Diag *d = bind_error(e->b, "E0306", e->c->given[0].at, "%s", why);
    diag_help(d, "a pattern names each axis by a word: \"b s k, b t k -> b s t\"");
    return false;
}

static bool read_pattern(Einsum *e, const char *text)
{
    bool result = false;
    Letters *now = &e->in[0];
    e->n = 1;
    for (const char *p = text; *p;) {
        if (*p == ' ')
            p++;
        else if (*p == ',') {
            if (result || e->n == MAX_TERMS)
                return refuse(e, "the pattern has too many commas");
            now = &e->in[e->n++];
            p++;
        } else if (p[0] == '-' && p[1] == '>' && !result) {
            result = true;
            now = &e->out;
            p += 2;
        } else if (isalpha((unsigned char)*p)) {
            const char *end = p;
            while (isalnum((unsigned char)*end) || *end == '_')
                end++;
            if (now->n == MAX_RANK)
                return refuse(e, "a tensor of the pattern has too many axes");
            now->items[now->n++] = name_of_n(e->b->cx->names, p, (size_t)(end - p));
            p = end;
        } else
            return refuse(e, bind_print(e->b, "the pattern has a `%c`", isprint((unsigned char)*p) ? *p : '?'));
    }
    return result || refuse(e, "the pattern has no `->`");
}

static bool has(const Letters *l, const char *letter)
{
    for (int i = 0; i < l->n; i++)
        if (l->items[i] == letter)
            return true;
    return false;
}

static int find(const Einsum *e, const char *letter)
{
    for (int i = 0; i < e->n_letters; i++)
        if (e->letter[i] == letter)
            return i;
    return -1;
}

static bool axis_taken(const Einsum *e, const char *axis)
{
    for (int i = 0; i < e->n_letters; i++)
        if (e->axis[i] == axis)
            return true;
    return false;
}

/* The operand with its axes named as the letters ask. */
static Node *operand(Einsum *e, int index, Given *g)
{
    const Letters *l = &e->in[index];
    Term t = given_term(e->b, e->c, g);
    Node *x = tensor_of(e->b, &t, DT_F32, "an argument of `einsum`");
    if (!x)
        return NULL;
    x = make_cast(e->b, x, DT_F32);
    if (x->type->rank != l->n) {
        Diag *d = bind_error(e->b, "E0302", g->at, "the pattern gives this tensor %d axes", l->n);
        diag_caret(d, "it is %s", type_text(e->b, x->type));
        return NULL;
    }
    Type type = *x->type;
    for (int i = 0; i < l->n; i++) {
        int at = find(e, l->items[i]);
        for (int k = 0; k < i; k++)
            if (l->items[k] == l->items[i])
                return refuse(e, bind_print(e->b, "`%s` stands twice for one tensor", l->items[i])), NULL;
        if (at < 0) {
            if (e->n_letters == MAX_LETTERS)
                return refuse(e, "the pattern has too many letters"), NULL;
            const char *own = type.axis[i].name,
                       *base = bind_print(e->b, "%c%s", toupper((unsigned char)l->items[i][0]), l->items[i] + 1);
            at = e->n_letters++;
            e->letter[at] = l->items[i];
            e->size[at] = type.axis[i].size;
            e->axis[at] = NULL;
            e->axis[at] = axis_taken(e, own) ? dim_fresh_axis(e->b, base, e->c->given[0].expr, type.axis[i].size) : own;
        }
        if (!extent_equal(e->size[at], type.axis[i].size)) {
            Diag *d = bind_error(e->b, "E0304", g->at, "`%s` stands for axes of different sizes", l->items[i]);
            diag_caret(d, "here it is the axis `%s` of %s", type.axis[i].name, type_text(e->b, x->type));
            return NULL;
        }
        type.axis[i].name = e->axis[at];
    }
    return make_view(e->b, x, type_new(e->b->cx, type.dtype, type.rank, type.axis));
}

static bool needed_later(const Einsum *e, int index, const char *letter)
{
    for (int i = index + 1; i < e->n; i++)
        if (has(&e->in[i], letter))
            return true;
    return has(&e->out, letter);
}

/* Sums axes of x that only x has. */
static Node *sum_alone(Einsum *e, Node *x, int index, const Node *other)
{
    bool over[MAX_RANK] = {false}, any = false;
    for (int i = 0; i < e->n_letters; i++) {
        int at = type_find(x->type, e->axis[i]);
        if (at < 0 || needed_later(e, index, e->letter[i]) || (other && type_find(other->type, e->axis[i]) >= 0))
            continue;
        over[at] = any = true;
    }
    return any ? make_reduce(e->b, OP_sum, x, over) : x;
}

static Node *multiply(Einsum *e, Node *x, Node *y, int index)
{
    const char *over[MAX_RANK];
    int n = 0;
    x = sum_alone(e, x, index, y);
    y = sum_alone(e, y, index, x);
    for (int i = 0; i < e->n_letters && n < MAX_RANK; i++) {
        bool both = type_find(x->type, e->axis[i]) >= 0 && type_find(y->type, e->axis[i]) >= 0;
        if (both && !needed_later(e, index, e->letter[i]))
            over[n++] = e->axis[i];
    }
    return n ? make_dot(e->b, x, y, over, n) : make_map(e->b, OP_mul, 2, (Node *[]){x, y});
}

static Node *in_order(Einsum *e, Node *x)
{
    int order[MAX_RANK];
    for (int i = 0; i < e->out.n; i++) {
        int letter = find(e, e->out.items[i]);
        if (letter < 0)
            return refuse(e, bind_print(e->b, "no tensor has the `%s` of the result", e->out.items[i])), NULL;
        order[i] = type_find(x->type, e->axis[letter]);
        for (int k = 0; k < i; k++)
            if (order[k] == order[i])
                return refuse(e, "the result has a letter twice"), NULL;
    }
    return make_transpose(e->b, x, order);
}

Term builtin_einsum(Bind *b, Call *c)
{
    Einsum e = {.b = b, .c = c};
    Term text = arg_term(b, c, 0);
    Given *given[MAX_TERMS];
    int n = 0;
    if (text.kind != TERM_TEXT) {
        if (text.kind != TERM_POISON)
            bind_error(b, "E0201", c->given[0].at, "the pattern of `einsum` is a text");
        return term_poison();
    }
    if (!read_pattern(&e, text.text))
        return term_poison();
    for (int i = 1; i < c->n_given && n < MAX_TERMS; i++)
        given[n++] = &c->given[i];
    if (n != e.n) {
        bind_error(b, "E0124", c->at, "the pattern has %d tensor%s, the call %d", e.n, e.n == 1 ? "" : "s", n);
        return term_poison();
    }
    Node *in[MAX_TERMS] = {NULL};
    for (int i = 0; i < n; i++)
        if (!(in[i] = operand(&e, i, given[i])))
            return term_poison();
    Node *x = in[0];
    for (int i = 1; i < n && x; i++)
        x = multiply(&e, x, in[i], i);
    if (x)
        x = sum_alone(&e, x, n - 1, NULL);
    return x ? term_tensor(in_order(&e, x)) : term_poison();
}
