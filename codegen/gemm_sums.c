/* Sums of products, kept in registers while they grow: what all gemms of a file share whose tiles and weights are of one kind.
 *
 *     SUMS_tile(rows, ..)   to[r][c] = first[c] + a few rows times one panel; `rows` is a constant wherever it is called, so one text serves
 *                           all heights of a tile
 *     SUMS(rows, ..)        the same for a number that is known at run time; the sums begin with `start`, or 0
 *
 * How long the sums are and how far the rows lie apart are arguments, as are the panels' places and where the sums go: to the result,
 * or to a buffer from which the body reads them, in the first-level cache. A file has so few of these functions, which take clang longer than all that is around them.
 *
 * While a panel is multiplied, the next one comes into the cache, be it another weight's or another kernel's: after some steps each time some of
 * its lines are asked for, in several places at once, since one stream of addresses alone does not keep the memory busy. The tiles of a panel
 * share the lines. */
#include "codegen/gemm.h"
#include "codegen/units.h"

#include <string.h>

enum {
    STEPS = 8,    /* of a sum, between two times that lines are asked for */
    FAR_ROWS = 8, /* so many rows are reached by multiples of a step in a register; more need an address each, and those spill */
};

typedef struct GemmSums {
    const char *name;
    Tile tile;
    int n_weights;
    const DType *stored; /* their elements */
    const int64_t *from; /* they stand side by side for one sum: where each one's columns begin, and the last one's end; NULL: a sum each */
    int64_t depth;       /* a constant where the steps leave a rest, which is another copy of the loop; 0: an argument */
    const char *step;    /* between rows of x: a constant where the tile has many rows; NULL: an argument */
    bool ahead, adds;    /* asks for what is read next; goes on with the sums that are there */
} GemmSums;

static int64_t panel_of(const Gemm *g, const GemmSums *s) { return (int64_t)s->tile.vectors * g->k->e->target->lanes; }

const char *gemm_nth(Gemm *g, const char *name, int i) { return i ? arena_print(g->cx->arena, "%s_%d", name, i + 1) : name; }

static int sums_in(const GemmSums *s) { return s->from ? 1 : s->n_weights; }

/* ---- what is fetched ahead ------------------------------------------------------------------------------------------------------------------ */

int gemm_fetch_steps(int64_t depth) {
    static const int steps[] = {STEPS, 12, 16, 20, 28};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (depth % steps[i] == 0)
            return steps[i];
    return STEPS;
}

int gemm_fetch_places(int n_weights) { return n_weights > 1 ? 2 : 4; }

/* So many times the depth, as C text. */
static const char *times_depth(Gemm *g, const GemmSums *s, int64_t factor) {
    return s->depth ? arena_print(g->cx->arena, "%lld", (long long)(factor * s->depth)) : arena_print(g->cx->arena, "depth * %lld", (long long)factor);
}

static void put_fetch(Gemm *g, const GemmSums *s) {
    bool braces = s->n_weights > 1;
    int places = gemm_fetch_places(s->n_weights);
    Text on = text_new(g->cx->arena);
    for (int i = 0; i < s->n_weights; i++)
        text_add(&on, ", %s += apart", gemm_nth(g, "next", i));
    put_line(g->k, "ROLLED for (ptrdiff_t i = 0; i < asks; i++%s)%s", on.data, braces ? " {" : "");
    g->k->indent++;
    for (int i = 0; i < s->n_weights; i++) {
        int64_t bytes = panel_of(g, s) * (int64_t)dtype_size(s->stored[i]);
        const char *part = s->depth       ? arena_print(g->cx->arena, "%lld", (long long)(bytes * s->depth / places))
                           : bytes % places ? arena_print(g->cx->arena, "%s / %d", times_depth(g, s, bytes), places)
                                            : times_depth(g, s, bytes / places);
        put_line(g->k, "fetch_ahead(%s, %s, %d);", gemm_nth(g, "next", i), part, places);
    }
    g->k->indent--;
    if (braces)
        put_line(g->k, "}");
}

/* ---- the tile --------------------------------------------------------------------------------------------------------------------------------- */

static void over_tile(Gemm *g, const GemmSums *s) {
    Text *body = &g->k->body;
    text_add(body, "#pragma GCC unroll %d\n", s->tile.rows);
    put_line(g->k, "for (ptrdiff_t r = 0; r < rows; r++)");
    text_add(body, "#pragma GCC unroll %d\n", s->tile.vectors);
    g->k->indent++;
    put_line(g->k, "for (ptrdiff_t c = 0; c < %d; c++)%s", s->tile.vectors, sums_in(s) > 1 ? " {" : "");
    g->k->indent++;
}

static void end_tile(Gemm *g, const GemmSums *s) {
    g->k->indent--;
    if (sums_in(s) > 1)
        put_line(g->k, "}");
    g->k->indent--;
}

/* Row number k of the panel as vectors of f32: in memory, or widened into registers. */
static void put_panel_row(Gemm *g, const GemmSums *s, int i) {
    Arena *a = g->cx->arena;
    const char *w = gemm_nth(g, "w", i), *at = arena_print(a, "%s + k * %lld", w, (long long)panel_of(g, s));
    if (s->stored[i] == DT_F32) {
        put_line(g->k, "const lanes *%s_k = (const lanes *)(%s);", w, at);
        return;
    }
    Text vectors = text_new(a);
    for (int c = 0; c < s->tile.vectors; c++) {
        const char *from = c ? arena_print(a, "%s + %d", at, c * g->k->e->target->lanes) : at;
        text_add(&vectors, "%s%s", c ? ", " : "", load_vector(g->k, s->stored[i], from, NULL).text);
    }
    put_line(g->k, "const lanes %s_k[] = {%s};", w, vectors.data);
}

/* Row number k of the weight that the column belongs to, from that column on. */
static const char *beside_at(Gemm *g, const GemmSums *s, int64_t column) {
    int i = 0;
    while (column >= s->from[i + 1])
        i++;
    const char *row = arena_print(g->cx->arena, "%s + k * %lld", gemm_nth(g, "w", i), (long long)(s->from[i + 1] - s->from[i]));
    return column > s->from[i] ? arena_print(g->cx->arena, "%s + %lld", row, (long long)(column - s->from[i])) : row;
}

/* The same of all weights side by side: put together of whole vectors and of halves. */
static void put_beside_row(Gemm *g, const GemmSums *s) {
    int64_t lanes = g->k->e->target->lanes;
    Text vectors = text_new(g->cx->arena);
    for (int64_t first = 0; first < panel_of(g, s); first += lanes) {
        int i = 0;
        while (first >= s->from[i + 1])
            i++;
        const char *low = beside_at(g, s, first), *vector = load_vector(g->k, DT_F32, low, NULL).text;
        if (first + lanes > s->from[i + 1])
            vector = arena_print(g->cx->arena, "two_halves(%s, %s)", low, i + 1 < s->n_weights ? beside_at(g, s, first + lanes / 2) : low);
        text_add(&vectors, "%s%s", first ? ", " : "", vector);
    }
    put_line(g->k, "const lanes w_k[] = {%s};", vectors.data);
}

/* Several steps a round: to count each of them would cost a tenth of the peak, most of all where another thread shares the core's decoder.
 * Clang left alone would unroll until sums spill. */
static void put_steps(Gemm *g, const GemmSums *s, const char *from, const char *to) {
    int steps = g->k->e->target->steps;
    if (steps > 1)
        text_add(&g->k->body, "#pragma GCC unroll %d\n", steps);
    put_open(g->k, "%sfor (ptrdiff_t k = %s; k < %s; k++)", steps > 1 ? "" : "ROLLED ", from, to);
    for (int i = 0; i < s->n_weights && !s->from; i++)
        put_panel_row(g, s, i);
    if (s->from)
        put_beside_row(g, s);
    over_tile(g, s);
    for (int i = 0; i < sums_in(s); i++)
        put_line(g->k, "%s[r][c] += splat(x[r * %s + k]) * %s_k[c];", gemm_nth(g, "sum", i), s->step ? s->step : "step", gemm_nth(g, "w", i));
    end_tile(g, s);
    put_close(g->k);
}

static void put_products(Gemm *g, const GemmSums *s) {
    int steps = gemm_fetch_steps(s->depth);
    bool chunks = s->ahead || !s->depth;
    int64_t whole = chunks ? s->depth / steps * steps : 0;
    Arena *a = g->cx->arena;
    if (chunks) {
        put_open(g->k, "ROLLED for (ptrdiff_t at = 0; at < %s; at += %d)", s->depth ? arena_print(a, "%lld", (long long)whole) : "depth", steps);
        if (s->ahead)
            put_fetch(g, s);
        put_steps(g, s, "at", arena_print(a, "at + %d", steps));
        put_close(g->k);
    }
    if (whole < s->depth)
        put_steps(g, s, arena_print(a, "%lld", (long long)whole), arena_print(a, "%lld", (long long)s->depth));
}

/* ---- the functions ------------------------------------------------------------------------------------------------------------------------------ */

/* What the functions take behind the rows: declared, or the names alone. A tile's sums begin with vectors, not with what lies in memory. */
static int put_items(Gemm *g, const GemmSums *s, const char **items, bool declare, bool tile) {
    Arena *a = g->cx->arena;
    const char *size = declare ? "ptrdiff_t " : "", *start = tile ? "first" : "start", *start_type = tile ? "const lanes *" : "const float *";
    int n = 0;
    if (!s->depth)
        items[n++] = arena_print(a, "%sdepth", size);
    items[n++] = declare ? "const float *restrict x" : "x";
    if (!s->step)
        items[n++] = arena_print(a, "%sstep", size);
    for (int i = 0; i < s->n_weights; i++) {
        const char *type = s->stored[i] == DT_F32 ? "const float *restrict " : "const uint16_t *restrict ";
        items[n++] = arena_print(a, "%s%s", declare ? type : "", gemm_nth(g, "w", i));
    }
    for (int i = 0; i < sums_in(s) && !s->adds; i++)
        items[n++] = arena_print(a, "%s%s", declare ? start_type : "", gemm_nth(g, start, i));
    for (int i = 0; i < sums_in(s); i++)
        items[n++] = arena_print(a, "%s%s", declare ? "float *" : "", gemm_nth(g, "to", i));
    items[n++] = arena_print(a, "%sto_step", size);
    for (int i = 0; s->ahead && i < s->n_weights; i++)
        items[n++] = arena_print(a, "%s%s", declare ? "const char *" : "", gemm_nth(g, "next", i));
    for (int i = 0; s->ahead && i < 2; i++)
        items[n++] = arena_print(a, "%s%s", size, i ? "apart" : "asks");
    return n;
}

static const char **room_for_items(Gemm *g, const GemmSums *s) { return arena_array(g->cx->arena, (size_t)s->n_weights * 4 + 8, sizeof(char *)); }

/* Where vector c of row r goes. */
static const char *place(Gemm *g, int i) { return arena_print(g->cx->arena, "%s + r * to_step + %d * c", gemm_nth(g, "to", i), g->k->e->target->lanes); }

static void put_tile(Gemm *g, const GemmSums *s) {
    Kernel *k = g->k;
    const char **items = room_for_items(g, s);
    items[0] = "ptrdiff_t rows";
    int n = 1 + put_items(g, s, items + 1, true, true);
    text_add(&k->body, "/* to = %s + x * w for `rows` rows, at most %d, and one panel of %lld columns.", s->adds ? "to" : "first", s->tile.rows, (long long)panel_of(g, s));
    if (s->ahead)
        text_add(&k->body, "\n * Every %d steps `asks` times lines are asked for, from `next` on.", gemm_fetch_steps(s->depth));
    text_add(&k->body, " */\nstatic inline __attribute__((always_inline))\n%s\n{\n", wrapped(g->cx, arena_print(g->cx->arena, "void %s_tile", s->name), items, (size_t)n));
    Text sums = text_new(g->cx->arena);
    for (int i = 0; i < sums_in(s); i++)
        text_add(&sums, "%s%s[%d][%d]", i ? ", " : "", gemm_nth(g, "sum", i), s->tile.rows, s->tile.vectors);
    put_line(k, "lanes %s;", sums.data);
    over_tile(g, s);
    for (int i = 0; i < sums_in(s); i++) {
        const char *from = s->adds ? load_vector(k, DT_F32, place(g, i), NULL).text : arena_print(g->cx->arena, "%s[c]", gemm_nth(g, "first", i));
        put_line(k, "%s[r][c] = %s;", gemm_nth(g, "sum", i), from);
    }
    end_tile(g, s);
    put_products(g, s);
    over_tile(g, s);
    for (int i = 0; i < sums_in(s); i++)
        put_line(k, "%s", store_vector(k, DT_F32, place(g, i), operand_of(arena_print(g->cx->arena, "%s[r][c]", gemm_nth(g, "sum", i)), BINDS_ALL, true, DT_F32), NULL));
    end_tile(g, s);
    text_add(&k->body, "}\n\n");
}

static const char *head_of(Gemm *g, const GemmSums *s, const char *before) {
    const char **items = room_for_items(g, s);
    items[0] = "ptrdiff_t rows";
    int n = 1 + put_items(g, s, items + 1, true, false);
    return wrapped(g->cx, arena_print(g->cx->arena, "%s__attribute__((noinline))\nvoid %s", before, s->name), items, (size_t)n);
}

/* What the sums begin with, once for all rows. */
static void put_first(Gemm *g, const GemmSums *s) {
    for (int i = 0; i < sums_in(s); i++) {
        Text vectors = text_new(g->cx->arena);
        for (int c = 0; c < s->tile.vectors; c++)
            text_add(&vectors, "%sload_if(%s, %d)", c ? ", " : "", gemm_nth(g, "start", i), c * g->k->e->target->lanes);
        put_line(g->k, "const lanes %s[] = {%s};", gemm_nth(g, "first", i), vectors.data);
    }
}

/* One tile for each number of rows. */
static void put_heights(Gemm *g, const GemmSums *s) {
    Kernel *k = g->k;
    const char **items = room_for_items(g, s), *tile = arena_print(g->cx->arena, "%s_tile", s->name);
    int n = 1 + put_items(g, s, items + 1, false, true);
    text_add(&k->body, "\n{\n");
    if (!s->adds)
        put_first(g, s);
    put_line(k, "switch (rows) {");
    for (int rows = s->tile.rows; rows >= 1; rows--) {
        items[0] = arena_print(g->cx->arena, "%d", rows);
        put_line(k, "case %d: %s; break;", rows, gemm_joined(g->cx, tile, items, n));
    }
    put_line(k, "}");
    text_add(&k->body, "}\n\n");
}

/* A part of the file of its own, before the kernel that asks for it. */
static void put_functions(Gemm *g, const GemmSums *s) {
    Emitter *e = g->k->e;
    Text body = g->k->body;
    int indent = g->k->indent;
    KernelText part = {.function = s->name, .head = head_of(g, s, ""), .names = scope_new(g->cx), .from = e->kernels.length, .helps = true};
    g->k->body = text_new(g->cx->arena);
    g->k->indent = 1;
    put_tile(g, s);
    text_put(&e->kernels, g->k->body.data, g->k->body.length);
    part.at = e->kernels.length;
    text_add(&e->kernels, "%s", head_of(g, s, "static "));
    part.body = e->kernels.length;
    g->k->body = text_new(g->cx->arena);
    put_heights(g, s);
    text_put(&e->kernels, g->k->body.data, g->k->body.length);
    part.to = e->kernels.length;
    g->k->body = body;
    g->k->indent = indent;
    units_note(e, &part);
}

static bool same_places(const GemmSums *a, const GemmSums *b) {
    return !a->from == !b->from && (!a->from || !memcmp(a->from, b->from, (size_t)(a->n_weights + 1) * sizeof *a->from));
}

static bool same_step(const GemmSums *a, const GemmSums *b) { return !a->step == !b->step && (!a->step || !strcmp(a->step, b->step)); }

static bool same_kind(const GemmSums *a, const GemmSums *b) {
    return a->tile.rows == b->tile.rows && a->tile.vectors == b->tile.vectors && a->n_weights == b->n_weights && same_places(a, b) && same_step(a, b) && a->depth == b->depth && a->ahead == b->ahead &&
           a->adds == b->adds && !memcmp(a->stored, b->stored, (size_t)a->n_weights * sizeof *a->stored);
}

/* The functions of this kind, which the file has from now on. */
static const GemmSums *sums_of_kind(Gemm *g, GemmSums kind) {
    Emitter *e = g->k->e;
    for (size_t i = 0; i < e->n_sums; i++)
        if (same_kind(&e->sums[i], &kind))
            return &e->sums[i];
    kind.name = scope_name(&e->file, arena_print(g->cx->arena, "%s_sums_%dx%lld", e->prefix, kind.tile.rows, (long long)panel_of(g, &kind)));
    scope_name(&e->file, arena_print(g->cx->arena, "%s_tile", kind.name));
    e->sums = arena_room(g->cx->arena, e->sums, e->n_sums, &e->sums_capacity, sizeof *e->sums);
    e->sums[e->n_sums] = kind;
    put_functions(g, &kind);
    return &e->sums[e->n_sums++];
}

const char *gemm_sums(Gemm *g, const SumsCall *call) {
    Arena *a = g->cx->arena;
    DType *stored = arena_array(a, (size_t)call->n_weights, sizeof *stored);
    for (int i = 0; i < call->n_weights; i++)
        stored[i] = call->w[i].dtype;
    int64_t depth = call->w->depth, constant = depth % STEPS ? depth : 0;
    bool far = call->tile.rows > FAR_ROWS && call->x->row && !call->x->step;
    const GemmSums *s = sums_of_kind(g, (GemmSums){.step = far ? call->x->row : NULL, .tile = call->tile, .n_weights = call->n_weights, .stored = stored, .depth = constant,
                                                   .ahead = constant || call->from ? call->ahead : !call->adds, .adds = call->adds, .from = call->from});
    const char **items = room_for_items(g, s);
    int n = 0;
    items[n++] = "rows";
    if (!s->depth)
        items[n++] = arena_print(a, "%lld", (long long)depth);
    items[n++] = call->x->local;
    if (!s->step)
        items[n++] = call->x->row ? call->x->row : "0";
    for (int i = 0; i < call->n_weights; i++)
        items[n++] = call->w[i].local;
    for (int i = 0; i < sums_in(s) && !s->adds; i++)
        items[n++] = call->start[i];
    for (int i = 0; i < sums_in(s); i++)
        items[n++] = call->to[i];
    items[n++] = call->to_step;
    for (int i = 0; s->ahead && i < call->n_weights; i++)
        items[n++] = call->ahead ? gemm_nth(g, "next", i) : "0";
    for (int i = 0; s->ahead && i < 2; i++)
        items[n++] = !call->ahead ? "0" : i ? "apart" : "asks";
    return gemm_joined(g->cx, s->name, items, n);
}
