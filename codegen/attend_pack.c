/* What a task packs of a block before its tiles read it: keys that lie in rows become panels of 32, values lie in groups
 * of columns, [group][key][columns of the group]. Rows of keys and values lie far apart, often a multiple of 4 KiB: read
 * by every tile, they would push each other out of the first-level cache and miss a page each.
 *
 *     turn           LANES keys by LANES numbers of them, turned about in registers
 *     pack_keys      one panel: keys that do not exist are copies of the last
 *     pack_values    the values of one panel of keys */
#include "codegen/attend_inside.h"

void attend_put_unrolled(Text *t, int depth, const char *var, int count, int step, const char *end)
{
    text_add(t, "#pragma GCC unroll %d\n%*sfor (ptrdiff_t %s = 0; %s < %d; ", (count + step - 1) / step, 4 * depth, "", var, var, count);
    step == 1 ? text_add(t, "%s++)%s\n", var, end) : text_add(t, "%s += %d)%s\n", var, step, end);
}

/* "__builtin_shufflevector(A, B, ..)": lane j is `pick` of j, of the second where negative. */
static const char *shuffled(Attend *a, const char *x, const char *y, int (*pick)(int lane))
{
    Text t = text_new(a->k->e->cx->arena);
    text_add(&t, "__builtin_shufflevector(%s, %s", x, y);
    for (int j = 0; j < a->lanes; j++) {
        int at = pick(j);
        text_add(&t, ", %d", at < 0 ? a->lanes - 1 - at : at);
    }
    text_add(&t, ")");
    return t.data;
}

/* Within each four lanes: two vectors' first two in turns, their last two, the first halves of both, the last halves. */
static int first_two(int lane)
{
    int at = lane / 4 * 4 + lane % 4 / 2;
    return lane % 2 ? -1 - at : at;
}

static int last_two(int lane)
{
    int at = first_two(lane);
    return at < 0 ? at - 2 : at + 2;
}

static int first_halves(int lane)
{
    int at = lane / 4 * 4 + lane % 2;
    return lane % 4 < 2 ? at : -1 - at;
}

static int last_halves(int lane)
{
    int at = first_halves(lane);
    return at < 0 ? at - 2 : at + 2;
}

/* "__builtin_shufflevector(X, Y, 0, 1, ..)": `count` numbers of both, one after another. */
static const char *joined(Attend *a, const char *x, const char *y, int count)
{
    Text t = text_new(a->k->e->cx->arena);
    text_add(&t, "__builtin_shufflevector(%s, %s", x, y);
    for (int j = 0; j < count; j++)
        text_add(&t, ", %d", j);
    text_add(&t, ")");
    return t.data;
}

/* "x[c]": four numbers, from i + n on, of each of the rows c, c + 4, c + 8 and so on; memory joins them, which no shuffle does as fast. */
static void put_fours(Attend *a, Text *t)
{
    const char *part[4];
    for (int r = 0; r < 4; r++)
        part[r] = attend_print(a, "*(const four *)(from[c%s] + i + n)", r ? attend_print(a, " + %d", 4 * r) : "");
    if (a->lanes == 4) {
        text_add(t, "            x[c] = %s;\n", part[0]);
        return;
    }
    const bool halves = a->lanes == 16;
    put_wrapped(t, 3, attend_print(a, "const %s low = %s;", halves ? "eight" : "four", halves ? joined(a, part[0], part[1], 8) : part[0]));
    put_wrapped(t, 3, attend_print(a, "const %s high = %s;", halves ? "eight" : "four", halves ? joined(a, part[2], part[3], 8) : part[1]));
    put_wrapped(t, 3, attend_print(a, "x[c] = %s;", joined(a, "low", "high", a->lanes)));
}

/* Four numbers of all rows at a time: only they change places, within four lanes. */
void attend_emit_turn(Attend *a, int apart, const char *times)
{
    static const struct {
        char to, from;
        int x, y;
        int (*pick)(int lane);
    } step[] = {
        {'y', 'x', 0, 1, first_two},    {'y', 'x', 0, 1, last_two},    {'y', 'x', 2, 3, first_two},    {'y', 'x', 2, 3, last_two},
        {'x', 'y', 0, 2, first_halves}, {'x', 'y', 0, 2, last_halves}, {'x', 'y', 1, 3, first_halves}, {'x', 'y', 1, 3, last_halves},
    };
    Text *t = &a->k->before;
    text_add(t, "/* to[i][c] = from[c][i]%s for LANES rows c and numbers i; those of `to` are %d apart. */\n", times, apart);
    text_add(t, "static void %s(const float *const *from, ptrdiff_t i, float *restrict to)\n{\n", a->turn);
    text_add(t, "    typedef float four __attribute__((vector_size(16), aligned(4)));\n");
    if (a->lanes == 16)
        text_add(t, "    typedef float eight __attribute__((vector_size(32)));\n");
    attend_put_unrolled(t, 1, "n", a->lanes, 4, " {");
    text_add(t, "        lanes x[4], y[4];\n");
    attend_put_unrolled(t, 2, "c", 4, 1, a->lanes > 4 ? " {" : "");
    put_fours(a, t);
    if (a->lanes > 4)
        text_add(t, "        }\n");
    for (int i = 0; i < 8; i++)
        put_wrapped(t, 2, attend_print(a, "%c[%d] = %s;", step[i].to, i % 4,
                                       shuffled(a, attend_print(a, "%c[%d]", step[i].from, step[i].x), attend_print(a, "%c[%d]", step[i].from, step[i].y), step[i].pick)));
    attend_put_unrolled(t, 2, "c", 4, 1, "");
    text_add(t, "            *(lanes *)(to + (n + c) * %d) = x[c]%s;\n    }\n}\n\n", apart, times);
}

static void emit_pack_keys(Attend *a, Text *t)
{
    Context *cx = a->k->e->cx;
    long long head = a->head, lanes = a->lanes;
    static const char *const items[] = {"const float *key", "ptrdiff_t step", "ptrdiff_t keys", "float *restrict panel"};
    text_add(t, "/* panel[%lld][%d] = key[keys][%lld], rows `step` apart; `keys` may go on beyond the panel. */\n",
             head, KEY_PANEL, head);
    text_add(t, "%s\n{\n", wrapped(cx, arena_print(cx->arena, "static void %s", a->pack_keys), items, 4));
    text_add(t, "    for (ptrdiff_t t = 0; t < lesser(keys, %d); t += LANES) {\n        const float *from[LANES];\n",
             KEY_PANEL);
    if (head >= lanes && lanes > 1)
        text_add(t, "        const ptrdiff_t ahead = t + LANES < keys ? LANES * step : 0; /* rows to ask for */\n");
    text_add(t, "        ROLLED for (ptrdiff_t c = 0; c < LANES; c++)\n            from[c] = key + lesser(t + c, keys - 1) * step;\n");
    if (head < lanes || lanes == 1) {
        text_add(t, "        for (ptrdiff_t i = 0; i < %lld; i++)\n            for (ptrdiff_t c = 0; c < LANES; c++)\n", head);
        text_add(t, "                panel[i * %d + t + c] = from[c][i];\n    }\n}\n\n", KEY_PANEL);
        return;
    }
    text_add(t, "        for (ptrdiff_t i = 0; i < %lld; i += LANES) {\n", head);
    text_add(t, "            ROLLED for (ptrdiff_t c = 0; c < LANES; c++)\n                __builtin_prefetch(from[c] + ahead + i);\n");
    if (head % lanes)
        text_add(t, "            const ptrdiff_t first = lesser(i, %lld); /* the last ones twice */\n", head - lanes);
    const char *first = head % lanes ? "first" : "i";
    text_add(t, "            %s(from, %s, panel + %s * %d + t);\n        }\n    }\n}\n\n", a->turn, first, first, KEY_PANEL);
}

static void emit_pack_values(Attend *a, Text *t)
{
    Context *cx = a->k->e->cx;
    long long width = a->width, whole = width / a->lanes * a->lanes, group = a->group;
    static const char *const items[] = {"const float *restrict value", "ptrdiff_t step", "ptrdiff_t keys",
                                        "float *restrict panel"};
    const char *to = width > group ? arena_print(cx->arena, "w / %lld * %lld + t * %lld + w %% %lld", group, group * a->block, group, group)
                       : arena_print(cx->arena, "t * %lld + w", group);
    text_add(t,
             "/* The values of one panel of keys, [%lld] each: %lld columns together. `keys` may go on beyond it. */\n",
             width, group);
    text_add(t, "%s\n{\n", wrapped(cx, arena_print(cx->arena, "static void %s", a->pack_values), items, 4));
    text_add(t, "    for (ptrdiff_t t = 0; t < lesser(keys, %d); t++, value += step) {\n", KEY_PANEL);
    text_add(t, "        const ptrdiff_t ahead = t + 8 < keys ? 8 * step : 0; /* a row to ask for */\n");
    attend_put_unrolled(t, 2, "w", (int)width, 16, "");
    text_add(t, "            __builtin_prefetch(value + ahead + w);\n");
    if (whole) {
        attend_put_unrolled(t, 2, "w", (int)whole, a->lanes, "");
        text_add(t, "            *(lanes *)(panel + %s) = *(const lanes_at *)(value + w);\n", to);
    }
    if (width > whole) {
        text_add(t, "        const int w = %lld;\n", whole);
        text_add(t, "        *(lanes *)(panel + %s) = load_part(value + w, %lld);\n", to, width - whole);
    }
    text_add(t, "    }\n}\n\n");
}

void attend_emit_pack(Attend *a)
{
    Text *t = &a->k->before;
    if (a->in_lanes)
        return;
    if (a->key_rows || (a->second.choice && a->second.key_rows)) {
        if (a->head >= a->lanes && a->lanes > 1)
            attend_emit_turn(a, KEY_PANEL, "");
        emit_pack_keys(a, t);
    }
    emit_pack_values(a, t);
}

void attend_emit_pack_panel(Attend *a, const char *t)
{
    Kernel *k = a->k;
    const char *keys = arena_print(k->e->cx->arena, "keys - %s", t);
    if (a->key_rows)
        put_line(k, "%s(key_rows + %s * key_step, key_step, %s, %s);", a->pack_keys, t, keys, attend_panel(a, false, t));
    if (a->second.choice && a->second.key_rows)
        put_line(k, "%s(keys2 + %s * step2, step2, %s, %s);", a->pack_keys, t, keys, attend_panel(a, true, t));
    put_line(k, "%s(value_rows + %s * value_step, value_step, %s, value_panels + (%s - t0) * %lld);", a->pack_values, t,
             keys, t, (long long)a->group);
}

const char *attend_panel(Attend *a, bool second, const char *t)
{
    Arena *arena = a->k->e->cx->arena;
    const char *two = second ? "2" : "";
    if (second ? a->second.key_rows : a->key_rows)
        return arena_print(arena, "key_panels%s + (%s - t0) * %lld", two, t, (long long)a->head);
    return arena_print(arena, "%s + %s / %d * %s", second ? "keys2" : "panels", t, KEY_PANEL,
                       second ? "step2" : "panel_step");
}
