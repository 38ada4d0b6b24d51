/* The inner functions of a gemm: the tile, its sums and what becomes of them, and the rows that go through it. */
#include "codegen/gemm.h"

#include <string.h>

/* The tiles of a panel share the lines of what is read next (gemm_sums.c says why they are asked for). Where there is one tile alone the time
 * goes to memory, which drops what it is asked while it is busy: each line is asked for AGAIN times. */
enum { LINE = 64, AGAIN = 4, FEW_STEPS = 32, SHORT_SUM = 128 };

/* ---- the tile ------------------------------------------------------------------------------------------------------------------------- */

const char *gemm_product(Context *cx, const char *a, const char *b) {
    if (!strcmp(b, "1"))
        return a;
    return arena_print(cx->arena, "%s * %s", a, b);
}

static const char *row_address(Gemm *g, const Pointer *p) {
    if (p->n_terms)
        return arena_print(g->cx->arena, "%s + %s", p->local, gemm_row_place(g, p, "first + r"));
    return p->row && strcmp(p->row, "0") ? arena_print(g->cx->arena, "%s + %s", p->local, gemm_product(g->cx, "r", p->row)) : p->local;
}

static Operand load_pointer(Gemm *g, const Pointer *p) {
    const char *address = p->reach & PER_ROW ? row_address(g, p) : p->local;
    if (!(p->reach & PER_COLUMN))
        return load_scalar(g->k, p->dtype, address);
    if (p->pairs)
        return load_vector(g->k, p->dtype, address, NULL);
    if (g->printing->rotation && g->printing->interleave)
        return load_apart(g->k, p->dtype, arena_print(g->cx->arena, "%s + c", address), "2", NULL);
    if (g->printing->rotation)
        return load_vector(g->k, p->dtype, arena_print(g->cx->arena, "%s + %lld * c", address, (long long)g->printing->pairs), NULL);
    return load_vector(g->k, p->dtype, arena_print(g->cx->arena, "%s + %d * c", address, g->k->e->target->lanes), g->count);
}

/* Columns from[i] .. of the panel as vectors, c counts them. Some begin in the middle of a vector. */
static const char *beside_sum(Gemm *g, const Group *group, int i) {
    Arena *a = g->cx->arena;
    int64_t lanes = g->k->e->target->lanes, vector = group->from[i] / lanes, columns = group->from[i + 1] - group->from[i];
    const char *sum = group->sum[0], *c = columns <= lanes ? "" : "c + ";
    if (group->from[i] % lanes == 0)
        return arena_print(a, "%s[r][%s%lld]", sum, c, (long long)vector);
    bool beyond = vector + 1 + (columns - 1) / lanes == group->tile.vectors;     /* behind the last half there is nothing */
    if (columns <= lanes)
        return arena_print(a, "middle_of(%s[r][%lld], %s[r][%lld])", sum, (long long)vector, sum, (long long)(beyond ? vector : vector + 1));
    return arena_print(a, beyond ? "middle_of(%s[r][c + %lld], %s[r][(c + %lld) %% %d])" : "middle_of(%s[r][c + %lld], %s[r][c + %lld])", sum,
                       (long long)vector, sum, (long long)vector + 1, group->tile.vectors);
}

static Operand gemm_leaf(void *state, const Node *leaf) {
    Gemm *g = state;
    const Group *group = g->printing;
    if (leaf->op != OP_param)
        return (Operand){0};
    for (int i = 0; i < group->n_weights; i++)
        if (g->n->body->params[group->weight[i]] == leaf)
            return operand_of(group->beside ? beside_sum(g, group, i) : arena_print(g->cx->arena, "%s[r][c]", group->sum[i]), BINDS_ALL, true, DT_F32);
    for (int i = 0; i < group->n_pointers; i++)
        if (group->pointers[i].param == leaf && (group->pointers[i].part == g->part || !(group->pointers[i].reach & PER_COLUMN)))
            return load_pointer(g, &group->pointers[i]);
    return (Operand){0};
}

static const Pointer *pointer_of(const Group *group, const Node *param) {
    for (int i = 0; i < group->n_pointers; i++)
        if (group->pointers[i].param && group->pointers[i].param == param)
            return &group->pointers[i];
    return NULL;
}

static int readers(const Graph *body, const Node *n) {
    int uses = 0;
    for (const Node *u = body->first; u; u = u->next)
        for (int i = 0; i < u->n_inputs; i++)
            uses += u->inputs[i] == n;
    for (int r = 0; r < body->n_results; r++)
        uses += body->results[r].value == n;
    return uses;
}

/* `acc + bias`, the only reader of acc, bias a vector over the columns: the accumulator starts with the bias. */
static void find_starts(Gemm *g, Group *group) {
    const Graph *body = g->n->body;
    for (int i = 0; i < group->n_weights && !group->beside; i++) {
        const Node *acc = body->params[group->weight[i]];
        for (const Node *n = body->first; n && readers(body, acc) == 1; n = n->next) {
            if (n->op != OP_add || (n->inputs[0] != acc && n->inputs[1] != acc))
                continue;
            const Pointer *bias = pointer_of(group, n->inputs[n->inputs[0] == acc]);
            if (bias && bias->reach == PER_COLUMN && bias->dtype == DT_F32)
                group->start[i] = n;
        }
    }
}

int gemm_group_sums(const Group *group) { return group->beside ? 1 : group->n_weights; }

static bool has_tail(const Group *group) { return group->columns % group->panel != 0; }

/* The vectors of a row at once where they find registers beside the constants of the body. */
static void over_tile(Gemm *g, int vectors, bool braces) {
    put_line(g->k, "for (ptrdiff_t r = 0; r < rows; r++)");
    if (g->k->e->target->registers >= 32)
        text_add(&g->k->body, "#pragma GCC unroll %d\n", vectors);
    g->k->indent++;
    put_line(g->k, "for (ptrdiff_t c = 0; c < %d; c++)%s", vectors, braces ? " {" : "");
    g->k->indent++;
}

static void end_tile(Gemm *g, bool braces) {
    g->k->indent--;
    if (braces)
        put_line(g->k, "}");
    g->k->indent--;
}

/* What accumulator i starts with, or NULL. */
static const Pointer *start_of(const Gemm *g, const Group *group, int i) {
    const Node *acc = g->n->body->params[group->weight[i]], *add = group->start[i];
    return add ? pointer_of(group, add->inputs[add->inputs[0] == acc]) : NULL;
}

/* Where the numbers that accumulator i starts with are read: "0" if there are none; "start" if they are copied first, since they do not lie
 * in the columns' order or not so many follow as a panel has. */
static const char *start_text(Gemm *g, const Group *group, int i) {
    const Pointer *from = start_of(g, group, i);
    if (!from)
        return "0";
    if (!group->rotation && !has_tail(group))
        return from->local;
    return i ? arena_print(g->cx->arena, "start_%d", i + 1) : "start";
}

static bool copies_start(const Gemm *g, const Group *group, int i) { return start_of(g, group, i) && (group->rotation || has_tail(group)); }

static void print_start(Gemm *g, Group *group) {
    for (int i = 0; i < gemm_group_sums(group); i++) {
        if (!copies_start(g, group, i))
            continue;
        put_line(g->k, "lanes %s[%d];", start_text(g, group, i), group->tile.vectors);
        text_add(&g->k->body, "#pragma GCC unroll %d\n", group->tile.vectors);
        put_line(g->k, "for (ptrdiff_t c = 0; c < %d; c++)", group->tile.vectors);
        put_line(g->k, "    %s[c] = %s;", start_text(g, group, i), load_pointer(g, start_of(g, group, i)).text);
    }
}

bool gemm_in_rows(const Pointer *p) { return p->reach == PER_BOTH && !p->n_terms && p->dtype == DT_F32; }

/* What is added to the sums lies in rows far apart, a few lines of each: with short sums, which do not take long enough to hide them, those of
 * the next tile are asked for before this one's sums. With long ones that costs up to 1 %. */
static void put_ahead(Gemm *g, const Group *group) {
    if (g->depth > SHORT_SUM)
        return;
    const int rows = group->tile.rows;
    const long long panel = group->panel;
    for (int i = 1 + group->n_weights; i < group->first_result && !group->beside && !group->rotation; i++) {
        const Pointer *p = &group->pointers[i];
        if (!gemm_in_rows(p))
            continue;
        text_add(&g->k->body, "#pragma GCC unroll %lld\n", (rows * panel + 15) / 16);
        put_line(g->k, "for (ptrdiff_t i = 0; i < %lld; i += 16)", rows * panel);
        put_line(g->k, "    __builtin_prefetch(%s + (%d + i / %lld) * %s + i %% %lld); /* the next tile's */", p->local, rows, panel, p->row, panel);
    }
}

static const char *number(Gemm *g, int64_t value) { return arena_print(g->cx->arena, "%lld", (long long)value); }

/* ---- what is fetched ahead -------------------------------------------------------------------------------------------------------------------- */

bool gemm_looks_ahead(const Gemm *g) { return g->depth >= FEW_STEPS; }

/* Bytes of one of a panel's places. */
static int64_t fetch_part(const Group *group, const Pointer *w) {
    return group->panel * w->depth * (int64_t)dtype_size(w->dtype) / gemm_fetch_places(group->n_weights);
}

static int64_t longest_part(const Group *group) {
    int64_t most = 0;
    for (int i = 0; i < group->n_weights; i++) {
        int64_t part = fetch_part(group, &group->pointers[1 + i]);
        most = part > most ? part : most;
    }
    return most;
}

/* The result that is the one sum, whole vectors of f32: it is written where it belongs. NULL: the body reads the sums from a buffer. */
static const Pointer *plain_result(const Gemm *g, const Group *group) {
    const Pointer *to = &group->pointers[group->first_result];
    if (group->n_weights > 1 || group->n_results > 1 || group->rotation || has_tail(group) || to->dtype != DT_F32)
        return NULL;
    const Node *value = g->n->body->results[group->result[0]].value;
    return value == g->n->body->params[group->weight[0]] || value == group->start[0] ? to : NULL;
}

static void print_products(Gemm *g, Group *group) {
    const Pointer *plain = plain_result(g, group);
    const char **to = arena_array(g->cx->arena, (size_t)group->n_weights * 2, sizeof *to), **start = to + group->n_weights, *step = plain ? plain->row : number(g, (int64_t)group->tile.vectors * g->k->e->target->lanes);
    for (int i = 0; i < gemm_group_sums(group); i++) {
        const char *from = start_text(g, group, i);
        start[i] = copies_start(g, group, i) ? arena_print(g->cx->arena, "(const float *)%s", from) : from;
        to[i] = plain ? plain->local : arena_print(g->cx->arena, "(float *)%s", group->sum[i]);
    }
    SumsCall call = {.tile = group->tile, .n_weights = group->n_weights, .x = group->pointers, .w = group->pointers + 1, .from = group->from, .to = to, .to_step = step,
                     .start = start, .ahead = gemm_looks_ahead(g)};
    put_line(g->k, "%s;", gemm_sums(g, &call));
    for (int k = 0; k < group->n_sides; k++) {      /* the sum goes on over other rows and panels */
        const Pointer *x = &group->pointers[group->first_side + 2 * k];
        SumsCall side = {.tile = group->tile, .n_weights = 1, .x = x, .w = x + 1, .to = to + group->side[k], .to_step = step, .adds = true};
        put_line(g->k, "%s;", gemm_sums(g, &side));
    }
}

/* "0, 16, 1, 17, ..": the lanes of two vectors in turns, from the first one's lane `from` on. */
static const char *lanes_in_turns(Gemm *g, int from) {
    int lanes = g->k->e->target->lanes;
    Text t = text_new(g->cx->arena);
    for (int i = 0; i < lanes; i++)
        text_add(&t, "%s%d", i ? ", " : "", from + i / 2 + (i % 2) * lanes);
    return t.data;
}

/* Vector 0 of the panel has the first partners, vector 1 the second ones. */
static void print_rotation(Gemm *g, Group *group) {
    Kernel *k = g->k;
    const Pointer *to = &group->pointers[group->first_result];
    const char *sum = group->sum[0], *row = row_address(g, to);
    int lanes = k->e->target->lanes;
    put_open(k, "for (ptrdiff_t r = 0; r < rows; r++)");
    put_line(k, "const lanes cosine = %s;", load_pointer(g, pointer_of(group, group->rotation->inputs[1])).text);
    put_line(k, "const lanes sine = %s;", load_pointer(g, pointer_of(group, group->rotation->inputs[2])).text);
    const char *part[2] = {arena_print(g->cx->arena, "%s[r][0] * cosine - %s[r][1] * sine", sum, sum),
                           arena_print(g->cx->arena, "%s[r][1] * cosine + %s[r][0] * sine", sum, sum)};
    for (int i = 0; group->interleave && i < 2; i++)
        put_line(k, "const lanes %s = %s;", i ? "odd" : "even", part[i]);
    for (int i = 0; group->interleave && i < 2; i++)
        part[i] = lanes == 1 ? i ? "odd" : "even" : arena_print(g->cx->arena, "__builtin_shufflevector(even, odd, %s)", lanes_in_turns(g, i * lanes / 2));
    for (int i = 0; i < 2; i++) {
        int64_t apart = group->interleave ? lanes : group->pairs;
        const char *address = i ? arena_print(g->cx->arena, "%s + %lld", row, (long long)apart) : row;
        put_line(k, "%s", store_vector(k, to->dtype, address, operand_of(part[i], BINDS_SUM, true, DT_F32), NULL));
    }
    put_close(k);
}

/* Of all columns, or of one of the products side by side. */
static void print_part(Gemm *g, Group *group, int vectors) {
    Kernel *k = g->k;
    Text outer = k->body, inside = text_new(g->cx->arena);
    k->body = inside;
    k->indent += 2;
    g->printer = (BodyPrinter){.k = k, .out = &k->body, .indent = k->indent, .leaf = gemm_leaf, .state = g};
    g->printing = group;
    for (int i = 0; i < group->n_weights; i++)
        if (group->start[i])
            body_define(&g->printer, group->start[i], operand_of(arena_print(g->cx->arena, "%s[r][c]", group->sum[i]), BINDS_ALL, true, DT_F32));
    int lines = 0;
    if (group->rotation) {
        const char *value = body_value(&g->printer, group->rotation->inputs[0]).text, *sum = arena_print(g->cx->arena, "%s[r][c]", group->sum[0]);
        if (strcmp(value, sum) != 0)
            put_line(k, "%s = %s;", sum, value);
    }
    for (int r = 0; !group->rotation && r < group->n_results; r++) {
        const Pointer *p = &group->pointers[group->first_result + r];
        if (p->part != g->part)
            continue;
        Operand value = body_value(&g->printer, g->n->body->results[group->result[r]].value);
        const char *address = arena_print(g->cx->arena, "%s + %d * c", row_address(g, p), k->e->target->lanes);
        put_line(k, "%s", store_vector(k, p->dtype, address, value, g->count));
    }
    inside = k->body;
    k->body = outer;
    k->indent -= 2;
    for (const char *c = inside.data; *c; c++)
        lines += *c == ';' && c[1] == '\n';
    if (inside.length) {
        over_tile(g, vectors, lines > 1);
        text_put(&k->body, inside.data, inside.length);
        end_tile(g, lines > 1);
    }
    if (group->rotation)
        print_rotation(g, group);
}

static void print_results(Gemm *g, Group *group) {
    int lanes = g->k->e->target->lanes;
    if (!group->beside)
        print_part(g, group, group->tile.vectors);
    for (int i = 0; group->beside && i < group->n_weights; i++) {
        int64_t columns = group->from[i + 1] - group->from[i];
        g->part = i;
        g->count = columns % lanes ? arena_print(g->cx->arena, columns < lanes ? "%lld" : "%lld - %d * c", (long long)columns, lanes) : NULL;
        print_part(g, group, (int)((columns + lanes - 1) / lanes));
    }
    g->part = 0;
}

/* ---- functions ------------------------------------------------------------------------------------------------------------------------------- */

static int pointer_items(const Gemm *g, const Group *group, const char **items, bool declare) {
    int n = 0;
    if (group->counts)
        items[n++] = declare ? "ptrdiff_t first" : "first";
    for (int i = 0; i < group->n_pointers; i++)
        items[n++] = declare ? param_text_as(g->k, group->pointers[i].name, group->pointers[i].local) : group->pointers[i].local;
    for (int i = 0; i < group->n_pointers; i++)
        if (group->pointers[i].step)
            items[n++] = declare ? arena_print(g->cx->arena, "ptrdiff_t %s", group->pointers[i].step) : group->pointers[i].step;
    for (int i = 0; i < group->n_sizes; i++)
        items[n++] = declare ? arena_print(g->cx->arena, "ptrdiff_t %s", group->sizes[i]) : group->sizes[i];
    return n;
}

/* `tile`: of a tile, which takes how much it asks for, too. */
static const char *head_of(Gemm *g, const Group *group, const char *start, const char *first, const char *second, bool tile) {
    const char **items = arena_array(g->cx->arena, (size_t)group->n_pointers * 3 + MAX_SIZES + 6, sizeof *items);
    int n = 0;
    if (first)
        items[n++] = first;
    if (second)
        items[n++] = second;
    n += pointer_items(g, group, items + n, true);
    for (int i = 0; gemm_looks_ahead(g) && i < group->n_weights; i++)
        items[n++] = arena_print(g->cx->arena, "const char *%s", gemm_nth(g, "next", i));
    for (int i = 0; gemm_looks_ahead(g) && tile && i < 2; i++)
        items[n++] = i ? "ptrdiff_t apart" : "ptrdiff_t asks";
    return wrapped(g->cx, start, items, (size_t)n);
}

const char *gemm_joined(Context *cx, const char *function, const char *const *items, int n) {
    Text t = text_new(cx->arena);
    text_add(&t, "%s(", function);
    for (int i = 0; i < n; i++)
        text_add(&t, "%s%s", i ? ", " : "", items[i]);
    text_char(&t, ')');
    return t.data;
}

static void print_tile(Gemm *g, Group *group) {
    Kernel *k = g->k;
    Text body = k->body;
    k->body = text_new(g->cx->arena);
    k->indent = 1;
    g->count = has_tail(group) ? arena_print(g->cx->arena, "columns - %d * c", k->e->target->lanes) : NULL;
    const char *tail = has_tail(group) ? "int columns" : NULL;
    text_add(&k->body, "/* `rows` rows, at most %d, times %s %lld columns%s. */\n%s\n{\n", group->tile.rows, group->beside ? "all" : "one panel of",
             (long long)(group->beside ? group->from[group->n_weights] : group->panel), group->beside ? ", side by side" : "",
             head_of(g, group, arena_print(g->cx->arena, "static inline void %s", group->tile_name), "ptrdiff_t rows", tail, true));
    Text sums = text_new(g->cx->arena);
    for (int i = 0; i < gemm_group_sums(group) && !plain_result(g, group); i++)
        text_add(&sums, "%s%s[%d][%d]", i ? ", " : "", group->sum[i], group->tile.rows, group->tile.vectors);
    if (sums.length)
        put_line(k, "lanes %s;", sums.data);
    g->printing = group;
    put_ahead(g, group);
    print_start(g, group);
    print_products(g, group);
    if (!plain_result(g, group))
        print_results(g, group);
    text_add(&k->body, "}\n\n");
    text_put(&k->before, k->body.data, k->body.length);
    k->body = body;
}

static const char *tile_call(Gemm *g, const Group *group, const char *rows, const char *columns) {
    const char **items = arena_array(g->cx->arena, (size_t)group->n_pointers * 3 + MAX_SIZES + 6, sizeof *items);
    int n = 0;
    items[n++] = rows;
    if (columns)
        items[n++] = columns;
    n += pointer_items(g, group, items + n, false);
    for (int i = 0; gemm_looks_ahead(g) && i < group->n_weights; i++)
        items[n++] = arena_print(g->cx->arena, "%s + ahead", gemm_nth(g, "next", i));
    for (int i = 0; gemm_looks_ahead(g) && i < 2; i++)
        items[n++] = i ? "apart" : "asks";
    return gemm_joined(g->cx, group->tile_name, items, n);
}

static void finish_function(Kernel *k, Text body) {
    text_add(&k->body, "}\n\n");
    text_put(&k->before, k->body.data, k->body.length);
    k->body = body;
}

/* How the tiles share what is read next. */
static void print_shares(Gemm *g, const Group *group, const char *tiles) {
    int64_t part = longest_part(group), chunk = (part * gemm_fetch_steps(g->depth) + g->depth - 1) / g->depth, lines = (chunk + LINE - 1) / LINE;
    const char *several = lines < 2 ? "1" : arena_print(g->cx->arena, "tiles < %lld ? (%lld + tiles) / tiles : 1", (long long)lines, (long long)(lines - 1));
    put_line(g->k, "ptrdiff_t tiles = %s, ahead = 0, asks = tiles == 1 ? %lld : %s;", tiles, (long long)((chunk * AGAIN + LINE - 1) / LINE), several);
    put_line(g->k, "const ptrdiff_t apart = tiles == 1 ? %d : %d; /* bytes from one to the next that is asked for */", LINE / AGAIN, LINE);
}

/* The rows in tiles of `most`, or one less: a tile of few rows would wait for its own sums. */
static void print_rows(Gemm *g, Group *group, const char *name, int64_t columns) {
    Kernel *k = g->k;
    bool ahead = gemm_looks_ahead(g);
    int most = group->tile.rows;
    Text body = k->body, step = text_new(g->cx->arena);
    k->body = text_new(g->cx->arena);
    k->indent = 1;
    text_add(&k->body, "%s\n{\n", head_of(g, group, arena_print(g->cx->arena, "static void %s", name), "ptrdiff_t rows", NULL, false));
    const char *tiles = most == 1 ? "rows" : arena_print(g->cx->arena, "(rows + %d) / %d", most - 1, most);
    if (ahead)
        print_shares(g, group, tiles);
    else
        put_line(k, "ptrdiff_t tiles = %s;", tiles);
    for (int i = 0; i < group->n_pointers; i++) {
        const Pointer *p = &group->pointers[i];
        if (p->row && strcmp(p->row, "0"))
            text_add(&step, ", %s += %s", p->local, gemm_product(g->cx, "n", p->row));
    }
    if (ahead)
        text_add(&step, ", ahead += asks * apart * %lld", (long long)(g->depth / gemm_fetch_steps(g->depth)));
    put_open(k, "for (ptrdiff_t n; tiles; tiles--, rows -= n%s%s)", group->counts ? ", first += n" : "", step.length ? step.data : "");
    put_line(k, "n = %s;", most == 1 ? "1" : "(rows + tiles - 1) / tiles");
    if (ahead)
        put_line(k, "asks = ahead < %lld ? asks : 0;", (long long)longest_part(group));
    put_line(k, "%s;", tile_call(g, group, "n", has_tail(group) ? number(g, columns) : NULL));
    put_close(k);
    finish_function(k, body);
}

/* ---- one set of functions a group, or for several groups ----------------------------------------------------------------------------------- */

/* Several groups may share their tile functions, which then speak of w, b and y; one group keeps the model's words. */
static void name_locals(Gemm *g, Group *group, bool several) {
    Scope s = g->k->names;
    if (several) {
        s = scope_new(g->cx);
        scope_name(&s, "first");
        for (int i = 0; i < group->n_sizes; i++)
            scope_name(&s, group->sizes[i]);
    }
    for (int i = 0; i < group->n_pointers; i++) {
        Pointer *p = &group->pointers[i];
        bool side = i >= group->first_side && i < group->first_side + 2 * group->n_sides;
        const char *role = side ? (p->reach == PER_PANEL ? "side" : "low") : !i ? p->name : p->reach == PER_PANEL ? "w" : i >= group->first_result ? "y" : "b";
        p->local = several ? scope_name(&s, role) : p->name;
        for (int j = 0; j < i; j++)
            if (!strcmp(group->pointers[j].local, p->local)) /* two products of the same rows */
                p->local = scope_name(&g->k->names, role);
    }
}

static void name_functions(Gemm *g, Group *group, const char *base) {
    Scope *file = &g->k->e->file;
    Arena *a = g->cx->arena;
    group->tile_name = scope_name(file, arena_print(a, "%s_tile", base));
    group->rows_name = scope_name(file, arena_print(a, "%s_rows", base));
    group->last_name = scope_name(file, arena_print(a, "%s_last", base));
}

static const char *functions_text(Gemm *g, Group *group) {
    Text before = g->k->before;
    g->k->before = text_new(g->cx->arena);
    print_tile(g, group);
    if (group->columns >= group->panel)
        print_rows(g, group, group->rows_name, group->panel);
    if (has_tail(group))
        print_rows(g, group, group->last_name, group->columns % group->panel);
    const char *text = g->k->before.data;
    g->k->before = before;
    return text;
}

/* A group's functions, unless an earlier group's are the same to the letter. */
void gemm_functions(Gemm *g, int number) {
    Group *group = &g->groups[number], *first = &g->groups[0];
    Arena *a = g->cx->arena;
    for (int j = 0; j < group->n_weights; j++)
        group->sum[j] = j ? arena_print(a, "sum_%d", j + 1) : "sum";
    name_locals(g, group, g->n_groups > 1);
    find_starts(g, group);
    if (!number)
        name_functions(g, group, g->k->function);
    group->tile_name = first->tile_name;
    group->rows_name = first->rows_name;
    group->last_name = first->last_name;
    group->text = functions_text(g, group);
    for (int twin = 0; twin < number; twin++) {
        const Group *other = &g->groups[twin];
        if (strcmp(other->text, group->text) != 0)
            continue;
        group->tile_name = other->tile_name;
        group->rows_name = other->rows_name;
        group->last_name = other->last_name;
        return;
    }
    if (number)
        name_functions(g, group, arena_print(a, "%s_%s", g->k->e->prefix, kernel_get(g->n, group->result[0])->name));
    const char *text = number ? functions_text(g, group) : group->text;
    text_add(&g->k->before, "%s", text);
}

