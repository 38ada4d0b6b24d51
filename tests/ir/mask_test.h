/* Masks for tests: a model with one attend and tables of every kind, random conditions over them, and what a condition
 * says of one pair, worked out anew. */
#ifndef ATTAR_TESTS_MASK_TEST_H
#define ATTAR_TESTS_MASK_TEST_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ir/interpret.h"
#include "ir/tile_class.h"

/* ---- the model -------------------------------------------------------------------------------------------------- */

/* Of each table the queries' part and the keys': document, rank, tree (enter, leave), kept keys, living rows, a length. */
#define MASK_INPUTS \
    ", di: i32[B, S], dj: i32[B, T], ri: i32[S], rj: i32[T], ei: i32[B, S], ej: i32[B, T], lj: i32[B, T], " \
    "keep: bool[B, T], alive: bool[B, S], n: i32[B]"
#define MASK_NAMES ", di, dj, ri, rj, ei, ej, lj, keep, alive, n"
#define MASK_PARAMS \
    ", pdi: i32[B, S], pdj: i32[B, T], pri: i32[S], prj: i32[T], pei: i32[B, S], pej: i32[B, T], plj: i32[B, T], " \
    "pkeep: bool[B, T], palive: bool[B, S], pn: i32[B]"

/* `lines` are conditions of the body, the last one called `mask`; symbols B, S, past, and T = past + S. The keys lie in
 * panels or in rows. */
static inline const char *mask_model(Arena *arena, const char *lines, int g, int r, int k, int w, bool key_rows)
{
    Text t = text_new(arena);
    text_add(&t, "kernels test(q: f32[B, S, G, R, K], k: f32[B, T, G, K], v: f32[B, T, G, W]" MASK_INPUTS ")\n");
    text_add(&t, "  dims B = 1..  S = 1..  past = 0..  T = past+S  G = %d  R = %d  K = %d  W = %d\n", g, r, k, w);
    text_add(&t, "  region 0 = %d bytes * B * past+S to 32, bound 64\n", g * k * 4);
    if (!key_rows)
        text_add(&t, "  keys = map k layout=panels keys=T (key: f32[B, T, G, K]) { return key } : f32[B, T, G, K] @0+0\n");
    text_add(&t, "  out = attend q, %s, v" MASK_NAMES " over=K keys=T scale=%.9g (s: f32[B, G, S, R, T]" MASK_PARAMS ") {\n",
             key_rows ? "k" : "keys", 1 / sqrt(k));
    text_add(&t, "    i = iota start=past : i32[S]\n    j = iota : i32[T]\n    none = const value=-inf : f32\n%s", lines);
    text_add(&t, "    f = where mask, s, none\n    return f\n  } : f32[B, S, G, R, W] @output.0\n  return out\n");
    return t.data;
}

/* ---- random conditions ------------------------------------------------------------------------------------------ */

typedef struct MaskMaker {
    Text out;
    uint64_t state;
    int values;
} MaskMaker;

typedef struct MaskValue {
    char name[16];
    const char *dtype;
    char axes[4]; /* "BST" in any order */
} MaskValue;

static inline int mask_random(MaskMaker *m, int below)
{
    m->state = m->state * 6364136223846793005u + 1442695040888963407u;
    return (int)(m->state >> 33) % below;
}

/* One line: the result of `op` with the axes of its inputs in order of appearance. */
static inline MaskValue mask_line(MaskMaker *m, const char *dtype, const char *op, int n, const MaskValue *in)
{
    MaskValue v = {.dtype = dtype};
    snprintf(v.name, sizeof v.name, "v%d", m->values++);
    text_add(&m->out, "    %s = %s", v.name, op);
    int first = op[0] == 'w'; /* where: the values' axes, then the condition's */
    for (int i = 0; i < n; i++) {
        text_add(&m->out, "%s%s", i ? ", " : " ", in[i].name);
        for (const char *a = in[(i + first) % n].axes; *a; a++)
            if (!strchr(v.axes, *a))
                v.axes[strlen(v.axes)] = *a;
    }
    text_add(&m->out, " : %s", dtype);
    for (size_t i = 0; v.axes[i]; i++)
        text_add(&m->out, "%s%c%s", i ? ", " : "[", v.axes[i], v.axes[i + 1] ? "" : "]");
    text_add(&m->out, "\n");
    return v;
}

static inline MaskValue mask_const(MaskMaker *m, int value)
{
    char op[40];
    snprintf(op, sizeof op, "const value=%d", value);
    return mask_line(m, "i32", op, 0, NULL);
}

static inline MaskValue mask_leaf(MaskMaker *m)
{
    static const MaskValue leaves[] = {{"i", "i32", "S"},    {"j", "i32", "T"},    {"i", "i32", "S"},    {"j", "i32", "T"},
                                       {"pdi", "i32", "BS"}, {"pdj", "i32", "BT"}, {"pri", "i32", "S"},  {"prj", "i32", "T"},
                                       {"pei", "i32", "BS"}, {"pej", "i32", "BT"}, {"plj", "i32", "BT"}, {"pn", "i32", "B"}};
    return leaves[mask_random(m, 12)];
}

/* Not x < x, which clang finds strange. */
static inline MaskValue mask_compare(MaskMaker *m, const char *op, MaskValue x, MaskValue y)
{
    if (!strcmp(x.name, y.name))
        y = mask_const(m, mask_random(m, 99));
    return mask_line(m, "bool", op, 2, (MaskValue[]){x, y});
}

static inline MaskValue mask_number(MaskMaker *m, int depth)
{
    static const char *const two[] = {"add", "sub", "sub", "minimum", "maximum"}, *const by[] = {"div", "mod", "mul"};
    int kind = depth ? mask_random(m, 9) : 0;
    if (kind < 3)
        return mask_leaf(m);
    MaskValue in[3] = {mask_number(m, depth - 1)};
    if (kind < 5) {
        int op = mask_random(m, 3);
        in[1] = mask_const(m, op == 2 ? mask_random(m, 7) - 3 : 1 + mask_random(m, 40));
        return mask_line(m, "i32", by[op], 2, in);
    }
    if (kind == 5)
        return mask_line(m, "i32", mask_random(m, 2) ? "neg" : "abs", 1, in);
    in[1] = mask_number(m, depth - 1);
    if (kind < 8)
        return mask_line(m, "i32", two[mask_random(m, 5)], 2, in);
    in[2] = in[1];
    in[1] = in[0];
    in[0] = mask_leaf(m);
    in[0] = mask_compare(m, "lt", in[0], mask_leaf(m));
    return mask_line(m, "i32", "where", 3, in);
}

/* One of the usual masks, or a comparison of anything. */
static inline MaskValue mask_primitive(MaskMaker *m)
{
    static const char *const compare[] = {"lt", "le", "eq", "ne"};
    const MaskValue i = {"i", "i32", "S"}, j = {"j", "i32", "T"};
    MaskValue in[2] = {j, i};
    switch (mask_random(m, 12)) {
    case 0: return mask_line(m, "bool", "le", 2, in);
    case 1: /* i - j < n */
        in[0] = mask_line(m, "i32", "sub", 2, (MaskValue[]){i, j});
        in[1] = mask_const(m, 1 + mask_random(m, 90));
        return mask_line(m, "bool", "lt", 2, in);
    case 2: in[1] = mask_random(m, 2) ? (MaskValue){"pn", "i32", "B"} : mask_const(m, mask_random(m, 99));
        return mask_line(m, "bool", "lt", 2, in);
    case 3: return mask_line(m, "bool", "eq", 2, (MaskValue[]){{"pdi", "i32", "BS"}, {"pdj", "i32", "BT"}});
    case 4: return mask_line(m, "bool", "le", 2, (MaskValue[]){{"prj", "i32", "T"}, {"pri", "i32", "S"}});
    case 5:
        in[0] = mask_line(m, "bool", "le", 2, (MaskValue[]){{"pej", "i32", "BT"}, {"pei", "i32", "BS"}});
        in[1] = mask_line(m, "bool", "lt", 2, (MaskValue[]){{"pei", "i32", "BS"}, {"plj", "i32", "BT"}});
        return mask_line(m, "bool", "and", 2, in);
    case 6: { /* chunks */
        MaskValue size = mask_const(m, 1 + mask_random(m, 70));
        in[0] = mask_line(m, "i32", "div", 2, (MaskValue[]){i, size});
        in[1] = mask_line(m, "i32", "div", 2, (MaskValue[]){j, size});
        return mask_line(m, "bool", "eq", 2, in);
    }
    case 7: return (MaskValue){"pkeep", "bool", "BT"};
    case 8: return (MaskValue){"palive", "bool", "BS"};
    default: break;
    }
    in[0] = mask_number(m, 2);
    in[1] = mask_random(m, 2) ? mask_number(m, 2) : mask_const(m, mask_random(m, 99));
    return mask_compare(m, compare[mask_random(m, 4)], in[0], in[1]);
}

static inline MaskValue mask_condition(MaskMaker *m, int depth)
{
    int kind = depth ? mask_random(m, 5) : 0;
    if (kind == 0)
        return mask_primitive(m);
    MaskValue in[2] = {mask_condition(m, depth - 1)};
    if (kind == 1)
        return mask_line(m, "bool", "not", 1, in);
    in[1] = mask_condition(m, depth - 1);
    return mask_line(m, "bool", kind < 4 ? "and" : "or", 2, in);
}

/* The lines of a random condition that reads both sides. */
static inline const char *mask_lines(Arena *arena, uint64_t seed)
{
    MaskMaker m = {.out = text_new(arena), .state = seed * 0x9e3779b97f4a7c15u + 1};
    for (int i = 0; i < 4; i++)
        mask_random(&m, 2);
    MaskValue in[2] = {mask_condition(&m, 3), {"pkeep", "bool", "BT"}};
    in[0] = mask_line(&m, "bool", "and", 2, (MaskValue[]){in[0], mask_primitive(&m)});
    in[1] = mask_line(&m, "bool", "not", 1, in);
    text_add(&m.out, "    mask = not %s : bool", in[1].name);
    for (size_t i = 0; in[1].axes[i]; i++)
        text_add(&m.out, "%s%c%s", i ? ", " : "[", in[1].axes[i], in[1].axes[i + 1] ? "" : "]");
    text_add(&m.out, "\n");
    return m.out.data;
}

/* ---- tables ----------------------------------------------------------------------------------------------------- */

typedef enum MaskTables { TABLES_RANDOM, TABLES_USUAL, TABLES_COUNT } MaskTables;

/* The keys' tables for `keys` positions. USUAL: ascending documents, ranks in another order of blocks, a tree in the
 * order of its visits, keys kept up to a length. */
static inline void mask_fill_keys(MaskMaker *m, MaskTables kind, int64_t keys, int *doc, int *rank, int *enter, int *leave,
                                  int *keep)
{
    int64_t stack[64], depth = 0, kept = mask_random(m, (int)keys + 1);
    int mean = 1 + mask_random(m, 80), block = 1 + mask_random(m, 100);
    for (int64_t t = 0; t < keys; t++) {
        bool random = kind == TABLES_RANDOM;
        doc[t] = random ? mask_random(m, 4) : (t ? doc[t - 1] : 0) + (mask_random(m, mean) == 0);
        rank[t] = random ? mask_random(m, (int)keys) : (int)((keys / block - t / block) * block + t % block);
        keep[t] = random ? mask_random(m, 3) > 0 : t < kept;
        enter[t] = random ? mask_random(m, (int)keys) : (int)t;
        leave[t] = (random ? enter[t] + mask_random(m, 50) : (int)keys);
        while (depth > 0 && (depth == 64 || mask_random(m, 3) > 0)) /* the innermost nodes end before this one begins */
            if (depth--, !random)
                leave[stack[depth]] = (int)t;
        stack[depth++] = t;
    }
}

/* Fills the inputs from number 3 on; a query's entry in a table is that of the key at its position. */
static inline void mask_fill(MaskMaker *m, MaskTables kind, const int64_t *sizes, HostTensor *in)
{
    int64_t batch = sizes[0], rows = sizes[1], past = sizes[2], keys = past + rows;
    int *part = malloc((size_t)keys * 5 * sizeof *part);
    for (int64_t b = 0; b < batch; b++) {
        int *doc = part, *rank = doc + keys, *enter = rank + keys, *leave = enter + keys, *keep = leave + keys;
        mask_fill_keys(m, kind, keys, doc, rank, enter, leave, keep);
        for (int64_t t = 0; t < keys; t++) {
            host_set(&in[4], b * keys + t, doc[t]);
            host_set(&in[6], t, rank[t]);
            host_set(&in[8], b * keys + t, enter[t]);
            host_set(&in[9], b * keys + t, leave[t]);
            host_set(&in[10], b * keys + t, keep[t]);
        }
        for (int64_t s = 0; s < rows; s++) {
            host_set(&in[3], b * rows + s, doc[past + s]);
            host_set(&in[5], s, rank[past + s]);
            host_set(&in[7], b * rows + s, enter[past + s]);
            host_set(&in[11], b * rows + s, mask_random(m, 6) > 0);
        }
        host_set(&in[12], b, mask_random(m, (int)keys + 9));
    }
    free(part);
}

/* ---- one pair --------------------------------------------------------------------------------------------------- */

typedef struct MaskPair {
    const Node *attend;
    const HostTensor *in; /* in the order of the model's inputs */
    const int64_t *sizes;
    int64_t b, s, t;
} MaskPair;

static inline int64_t mask_floor(int64_t a, int64_t b)
{
    return (int64_t)floor((double)a / (double)b);
}

/* A value of the body at this pair. */
static inline int64_t mask_value(const MaskPair *p, const Node *n)
{
    int64_t at = 0, x = 0, y = 0;
    for (int i = 0; i < n->type->rank; i++) {
        const char axis = n->type->axis[i].name[0];
        int64_t size = axis == 'B' ? p->sizes[0] : axis == 'S' ? p->sizes[1] : p->sizes[1] + p->sizes[2];
        at = at * size + (axis == 'B' ? p->b : axis == 'S' ? p->s : p->t);
    }
    if (n->n_inputs > 0)
        x = mask_value(p, n->inputs[0]);
    if (n->n_inputs > 1)
        y = mask_value(p, n->inputs[1]);
    switch (n->op) {
    case OP_iota: return at + (node_attr(n, ATTR_start) ? p->sizes[2] : 0);
    case OP_const: return (int64_t)attr_float(n, ATTR_value, 0);
    case OP_param: return (int64_t)host_get(&p->in[attr_int(n, ATTR_index, 0) + 2], at);
    case OP_add: return x + y;
    case OP_sub: return x - y;
    case OP_mul: return x * y;
    case OP_div: return mask_floor(x, y);
    case OP_mod: return x - mask_floor(x, y) * y;
    case OP_neg: return -x;
    case OP_abs: return x < 0 ? -x : x;
    case OP_minimum: return x < y ? x : y;
    case OP_maximum: return x > y ? x : y;
    case OP_lt: return x < y;
    case OP_le: return x <= y;
    case OP_eq: return x == y;
    case OP_ne: return x != y;
    case OP_and: return x & y;
    case OP_or: return x | y;
    case OP_not: return !x;
    case OP_where: return x ? y : mask_value(p, n->inputs[2]);
    default: abort();
    }
}

/* What the mask says of all pairs of `rows` rows from `row` on (R of them share a position) and KEY_PANEL keys. */
static inline TileClass mask_tile(MaskPair *p, const Node *condition, int64_t r, int64_t row, int64_t rows, int64_t key)
{
    bool some = false, all = true;
    int64_t last_row = row + rows < p->sizes[1] * r ? row + rows : p->sizes[1] * r, keys = p->sizes[1] + p->sizes[2];
    for (int64_t s = row / r; s <= (last_row - 1) / r; s++)
        for (int64_t t = key; t < key + KEY_PANEL && t < keys; t++) {
            p->s = s;
            p->t = t;
            bool open = mask_value(p, condition) != 0;
            some |= open;
            all &= open;
        }
    return !some ? TILE_EMPTY : all ? TILE_FULL : TILE_PARTIAL;
}

#endif
