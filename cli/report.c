/* attar report: what the passes made of a model and why, on one screen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/adapters.h"
#include "cli/cli.h"
#include "codegen/choose.h"
#include "driver/memory.h"

typedef struct ReportOptions {
    Options o;
    bool all;
    int line; /* 0: the whole model */
} ReportOptions;

static const char doc[] = "Says what was fused, what was not, and why; which values still go through memory.\n\n"
                          "  attar report models/bert.attar --weights DIR\n"
                          "  attar report models/bert.attar --weights DIR --dim S=512\n"
                          "  attar report models/bert.attar --config FILE           without weights\n"
                          "  attar report models/bert.attar --weights DIR --all     every decision on a line\n"
                          "  attar report models/bert.attar --weights DIR --json    the same for programs\n"
                          "  attar report models/bert.attar --weights DIR --line 16 why this line became what it is\n\n"
                          "`attar explain CODE` tells more about a reason; `attar ir MODEL --after PASS --diff` shows a rewrite.";

enum { KEY_ALL = 2000, KEY_LINE };

static const struct argp_option options[] = {
    {"json", 'j', 0, 0, "one JSON object a line: every decision, every stored value, a summary", 0},
    {"all", KEY_ALL, 0, 0, "every decision on a line of its own", 0},
    {"line", KEY_LINE, "N", 0, "only what was decided about this line of the model file, or because of it", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    ReportOptions *r = state->input;
    (void)arg;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &r->o); return 0;
    case 'j': r->o.json = true; return 0;
    case KEY_ALL: r->all = r->o.compile.time_heads = true; return 0;
    case KEY_LINE: r->line = (int)options_integer(state, "--line", arg, 1, INT32_MAX); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&model_group, 0, NULL, 0},
                                           {&dims_group, 0, NULL, 0},
                                           {&build_group, 0, NULL, 0},
                                           {&output_group, 0, NULL, 0},
                                           {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

enum { MOST_LINES = 25, MOST_KINDS = 8, MOST_MISSED = 5, LAST_LINES = 5, LAST_HINT = 16, DONE_WIDTH = 84, MISSED_WIDTH = 70 };

/* ---- lines ------------------------------------------------------------------------------------------------------- */

typedef struct Report {
    Tool *t;
    Arena *a;
    Account account;
    int lines, lanes; /* lanes: of the target */
    const int64_t *sizes; /* of the symbols */
} Report;

static Text begin_line(Report *r, const char *label, const char *noun)
{
    Text line = text_new(r->a);
    text_add(&line, "%s", label);
    text_pad(&line, 12);
    text_add(&line, "%s", noun);
    text_pad(&line, 25);
    text_char(&line, ' ');
    return line;
}

static void end_line(Report *r, const Text *line)
{
    printf("%s\n", line->data);
    r->lines++;
}

/* At most `width` bytes of the text, cut at a character's start. */
static void put_cut(Text *out, const char *text, size_t width)
{
    size_t length = strlen(text);
    if (length <= width) {
        text_add(out, "%s", text);
        return;
    }
    for (length = width - 3; length && ((unsigned char)text[length] & 0xc0) == 0x80;)
        length--;
    text_add(out, "%.*s...", (int)length, text);
}

static void put_place(Text *out, Span at)
{
    if (!at.source)
        return;
    LineColumn where = span_start(at);
    const char *slash = strrchr(at.source->path, '/');
    text_add(out, "  %s:%d:%d", slash ? slash + 1 : at.source->path, where.line, where.column);
}

static const char *signed_bytes(Report *r, double bytes)
{
    return arena_print(r->a, "%s%s", bytes < 0 ? "-" : "+", tool_bytes(r->a, bytes < 0 ? -bytes : bytes));
}

static void print_head(Report *r, const int64_t *sizes)
{
    Compilation *c = &r->t->c;
    const Account *a = &r->account;
    Text line = text_new(r->a);
    text_add(&line, "%s%s%s", tool_paint(r->t, "\033[1m"), c->kernels->name, tool_paint(r->t, "\033[0m"));
    for (int i = 0; i < c->kernels->n_symbols; i++)
        text_add(&line, "   %s=%lld", c->kernels->symbols[i]->name, (long long)sizes[i]);
    text_add(&line, "   %.3g GFLOP   weights %s   arena %s   traffic %s -> %s   %d kernels\n", 1e-9 * a->after.flops,
             tool_bytes(r->a, (double)c->emitted.plan.weight_bytes), tool_bytes(r->a, (double)a->arena),
             tool_bytes(r->a, a->before.bytes_read + a->before.bytes_written),
             tool_bytes(r->a, a->after.bytes_read + a->after.bytes_written), c->emitted.n_kernels);
    end_line(r, &line);
    r->lines++;
}

/* ---- what was done ----------------------------------------------------------------------------------------------- */

static void print_decisions(Report *r)
{
    Decisions *list;
    int count = remarks_decisions(r->t, &list), shown = 0, rest = 0;
    for (int i = 0; i < count; i++) {
        const Decisions *d = &list[i];
        if (!d->done || shown == MOST_KINDS) {
            rest += d->done > 0;
            continue;
        }
        shown++;
        const char *label = d->folded ? "folded" : !strncmp(d->pass->name, "fuse-", 5) ? "fused" : "rewritten";
        Text line = begin_line(r, label, d->noun);
        text_add(&line, "%lld of %lld", (long long)d->done, (long long)(d->done + d->refused));
        text_pad(&line, 37);
        text_add(&line, " ");
        put_cut(&line, d->what, DONE_WIDTH);
        text_pad(&line, d->bytes != 0 ? 38 + DONE_WIDTH + 2 : 0);
        if (d->bytes != 0)
            text_add(&line, "%s", signed_bytes(r, -d->bytes));
        end_line(r, &line);
    }
    if (rest) {
        Text line = begin_line(r, "", arena_print(r->a, "and %d more kinds: --all shows them", rest));
        end_line(r, &line);
    }
}

/* ---- what was not ------------------------------------------------------------------------------------------------ */

/* Bytes that doing it otherwise would save: a copy costs what it says, a refused rewrite may have cost more. */
static double benefit(const Remark *r)
{
    double saved = (r->bytes_before - r->bytes_after) * (double)r->times;
    return r->kind == REMARK_MISSED ? saved : -saved;
}

static int by_benefit(const void *a, const void *b)
{
    const Remark *x = *(const Remark *const *)a, *y = *(const Remark *const *)b;
    if (benefit(x) != benefit(y))
        return benefit(x) < benefit(y) ? 1 : -1;
    return x < y ? -1 : 1;
}

static void print_missed_line(Report *r, const Remark *m)
{
    const char *noun = strncmp(m->pass, "fuse-", 5) ? m->pass : m->pass + 5;
    bool copy = !strcmp(m->pass, pass_info[PASS_ID_lower].name);
    const char *label = m->kind == REMARK_MISSED ? "not fused" : copy ? "copied" : "noted";
    Text line = begin_line(r, label, noun);
    if (m->times > 1)
        text_add(&line, "%lldx ", (long long)m->times);
    put_cut(&line, m->op, 24);
    text_pad(&line, 37);
    text_add(&line, " ");
    put_cut(&line, m->why, MISSED_WIDTH);
    text_pad(&line, 38 + MISSED_WIDTH + 2);
    if (benefit(m) != 0)
        text_add(&line, "%s  ", signed_bytes(r, (m->bytes_after - m->bytes_before) * (double)m->times));
    text_add(&line, "%s", remark_code_name(m->code));
    put_place(&line, m->at);
    end_line(r, &line);
    if (m->help && r->lines < LAST_HINT) {
        line = begin_line(r, "", "");
        text_pad(&line, 38);
        text_add(&line, "help: %s", m->help);
        end_line(r, &line);
    }
}

/* Refusals, copies and what else passes noted. What plan-memory has to say stands in the lines about memory. */
static void print_missed(Report *r)
{
    const Remarks *all = &r->t->c.remarks;
    const Remark **list = arena_array(r->a, all->count + 1, sizeof *list);
    int count = 0;
    for (size_t i = 0; i < all->count; i++)
        if (all->items[i].kind != REMARK_PASSED && strcmp(all->items[i].pass, pass_info[PASS_ID_plan_memory].name))
            list[count++] = &all->items[i];
    qsort(list, (size_t)count, sizeof *list, by_benefit);
    int shown = count <= MOST_MISSED ? count : MOST_MISSED - 1;
    for (int i = 0; i < shown; i++)
        print_missed_line(r, list[i]);
    if (shown < count) {
        Text line = begin_line(r, "", arena_print(r->a, "and %d more: --all shows them", count - shown));
        end_line(r, &line);
    }
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void print_stored_line(Report *r, const Stored *s)
{
    Text line = begin_line(r, "stored", ""), type = text_new(r->a);
    put_cut(&line, s->value->name, 24);
    text_pad(&line, 37);
    text_add(&line, " ");
    type_print(s->value->type, &type);
    put_cut(&line, type.data, 40);
    text_pad(&line, 70);
    text_add(&line, " %8s", tool_bytes(r->a, s->bytes));
    if (s->times > 1)
        text_add(&line, " x%lld", (long long)s->times);
    text_pad(&line, 86);
    text_add(&line, " %s -> %s", op_info[s->writer->op].name, s->readers);
    put_place(&line, s->value->at);
    end_line(r, &line);
}

enum { WIDTH = 110 }; /* of a line of names */

/* The values from `first` on by name and bytes, in lines of WIDTH; how many lines. */
static int put_names(Report *r, int first, bool print)
{
    const Account *a = &r->account;
    Text line = text_new(r->a);
    int lines = 0;
    for (int i = first; i < a->n_stored; i++) {
        const Stored *s = &a->stored[i];
        Text item = text_new(r->a);
        put_cut(&item, s->value->name, 24);
        text_add(&item, " %s", tool_bytes(r->a, s->bytes));
        if (s->times > 1)
            text_add(&item, " x%lld", (long long)s->times);
        text_add(&item, i + 1 < a->n_stored ? ", " : "");
        if (line.length && line.length + item.length > WIDTH) {
            Text whole = begin_line(r, lines ? "" : "stored", lines ? "" : "and");
            text_put(&whole, line.data, line.length - 1); /* the space goes */
            if (print)
                end_line(r, &whole);
            line = text_new(r->a);
            lines++;
        }
        text_put(&line, item.data, item.length);
    }
    if (!line.length)
        return lines;
    Text whole = begin_line(r, lines ? "" : "stored", lines ? "" : "and");
    text_put(&whole, line.data, line.length);
    if (print)
        end_line(r, &whole);
    return lines + 1;
}

/* Every value that goes through memory: the largest with a line each, the others by name. */
static void print_stored(Report *r)
{
    const Account *a = &r->account;
    const Plan *plan = &r->t->c.emitted.plan;
    bool narrow = remarks_weights(plan, DT_BF16) > 0 || remarks_weights(plan, DT_F16) > 0;
    int last = LAST_LINES + (plan_state(plan) != NULL) + narrow, room = MOST_LINES - last - r->lines,
        shown = a->n_stored <= room ? a->n_stored : room - 1;
    while (shown > 0 && shown + put_names(r, shown, false) > room)
        shown--;
    bool fits = shown + put_names(r, shown, false) <= room;
    if (!fits)
        shown = room - 1;
    double rest = 0;
    for (int i = 0; i < a->n_stored; i++)
        if (i < shown)
            print_stored_line(r, &a->stored[i]);
        else
            rest += a->stored[i].bytes * (double)a->stored[i].times;
    if (shown == a->n_stored)
        return;
    if (fits) {
        put_names(r, shown, true);
        return;
    }
    Text line = begin_line(r, "stored", "and");
    text_add(&line, "%d more, %s: --all shows them", a->n_stored - shown, tool_bytes(r->a, rest));
    end_line(r, &line);
}

/* What was asked to be approximated, one line each; `few`: of many only the first and how many more. */
static void print_approximations(Tool *t, bool few)
{
    enum { MOST = 12 };
    const Approximations *all = &t->c.approximations;
    for (size_t i = 0; i < all->count && !(few && all->count > MOST && i == MOST - 1); i++) {
        Text line = text_new(&t->c.arena);
        text_add(&line, "approx      ");
        approximation_print(&all->items[i], &line);
        printf("%s\n", line.data);
        if (!few && all->items[i].table)
            printf("%s", all->items[i].table);
    }
    if (few && all->count > MOST)
        printf("approx      and %zu more: --all shows them\n", all->count - (MOST - 1));
}

/* What a row of the batch keeps from call to call, if some of it does not grow with the text. */
static void print_states(Report *r)
{
    const Plan *plan = &r->t->c.emitted.plan;
    Kept k = remarks_kept(plan);
    if (!k.states)
        return;
    Text line = begin_line(r, "memory", "states");
    text_add(&line, "%s in %d layer%s for each row of the batch, however long the text",
             tool_bytes(r->a, k.state_bytes), k.states, k.states == 1 ? "" : "s");
    if (k.position_bytes > 0)
        text_add(&line, "; other caches: %s for each of its positions", tool_bytes(r->a, k.position_bytes));
    end_line(r, &line);
}

/* Whether weights of two bytes are the checkpoint's bits or were rounded to them. */
static const char *how_narrow(const Tool *t, DType dtype)
{
    const Plan *plan = &t->c.emitted.plan;
    bool stored = false, rounded = false;
    if (t->o->compile.store && approximations_have(&t->c.approximations, "store"))
        return ", rounded when they were packed, widened where they are read";
    for (int i = 0; i < plan->n_weights; i++)
        *(plan->weights[i].rounded ? &rounded : &stored) |= plan->weights[i].dtype == dtype;
    return !rounded ? " as stored, widened where they are read" : stored ? " as stored or rounded" : ", rounded";
}

/* In which types the packed weights are, if not all are f32. */
static void print_storage(Report *r)
{
    static const DType types[] = {DT_BF16, DT_F16, DT_F32};
    const Plan *plan = &r->t->c.emitted.plan;
    Text line = begin_line(r, "memory", "weights");
    int n = 0;
    for (int i = 0; i < 3; i++) {
        double bytes = remarks_weights(plan, types[i]);
        if (bytes > 0 && (types[i] != DT_F32 || n))
            text_add(&line, "%s%s in %s%s", n++ ? ", " : "", tool_bytes(r->a, bytes), dtype_name(types[i]),
                     types[i] == DT_F32 ? "" : how_narrow(r->t, types[i]));
    }
    if (n)
        end_line(r, &line);
}

/* The tiles of the gemms and why: "4x24 for 4 of 5 products, expected at 0.99 of the peak; ..". */
static void print_tiles(Report *r)
{
    const Emitted *e = &r->t->c.emitted;
    enum { WORDS = 130 };
    Text words = text_new(r->a);
    for (int i = 0; i < e->n_tiles; i++) {
        const Tile tile = e->tiles[i].tile;
        const TileSource how = e->tiles[i].how;
        int same = 0;
        bool first = true;
        for (int j = 0; j < e->n_tiles; j++)
            if (e->tiles[j].tile.rows == tile.rows && e->tiles[j].tile.vectors == tile.vectors && e->tiles[j].how == how) {
                first &= j >= i;
                same++;
            }
        if (first)
            text_add(&words, "%s%dx%d %s for %d", words.length ? ", " : "", tile.rows, tile.vectors * r->lanes,
                     how == TILE_MEASURED ? "measured" : how == TILE_ROTATED ? "rotated" : how == TILE_BESIDE ? "side by side" : how == TILE_ALIKE ? "like these" : "expected", same);
    }
    if (!e->n_tiles)
        return;
    Text line = begin_line(r, "tiles", "gemm");
    put_cut(&line, arena_print(r->a, "%s of %d products; --all says why", words.data, e->n_tiles), WORDS);
    end_line(r, &line);
}

/* Each of them with its reason. */
static void print_all_tiles(Report *r)
{
    const Emitted *e = &r->t->c.emitted;
    for (int i = 0; i < e->n_tiles; i++) {
        const GemmShape *s = &e->tiles[i].shape;
        Text line = begin_line(r, "tile", "gemm");
        put_cut(&line, e->tiles[i].gemm->name, 24);
        text_add(&line, "  %lld -> %lld: ", (long long)s->depth, (long long)s->columns);
        tile_describe(&e->tiles[i], r->lanes, &line);
        end_line(r, &line);
    }
}

/* Of the whole process, before it runs. */
static void print_peak(Report *r)
{
    Memory m = memory_of(&r->t->c, r->sizes);
    Text line = begin_line(r, "memory", "process");
    text_add(&line, "at most %s: weights %s, values %s, inputs and outputs %s, ", tool_bytes(r->a, (double)m.peak), tool_bytes(r->a, (double)m.weights),
             tool_bytes(r->a, (double)m.values), tool_bytes(r->a, (double)m.tensors));
    if (m.caches)
        text_add(&line, "caches %s, ", tool_bytes(r->a, (double)m.caches));
    text_add(&line, "the program %s, each thread %s", tool_bytes(r->a, (double)m.process), tool_bytes(r->a, (double)m.thread));
    end_line(r, &line);
}

static void print_totals(Report *r)
{
    const Account *a = &r->account;
    const char *inexact = remarks_inexact(r->t);
    Text line = begin_line(r, "memory", "arena");
    text_add(&line, "%s; no placement needs less than %s; %s if each value had memory of its own",
             tool_bytes(r->a, (double)a->arena), tool_bytes(r->a, (double)a->lower_bound),
             tool_bytes(r->a, a->separate));
    end_line(r, &line);
    print_peak(r);
    print_storage(r);
    print_states(r);
    print_tiles(r);
    line = begin_line(r, "traffic", "read+written");
    double before = a->before.bytes_read + a->before.bytes_written,
           after = a->after.bytes_read + a->after.bytes_written;
    text_add(&line, "%s -> %s; without weights %s -> %s", tool_bytes(r->a, before), tool_bytes(r->a, after),
             tool_bytes(r->a, before - a->before.bytes_of_weights),
             tool_bytes(r->a, after - a->after.bytes_of_weights));
    end_line(r, &line);
    adapters_report(r->t);
    if (r->t->c.approximations.count)
        print_approximations(r->t, true);
    else if (inexact)
        printf("approx      %s: not exact in real arithmetic; every other rewrite is\n", inexact);
    else
        printf("exact       every rewrite is exact in real arithmetic; nothing was approximated\n");
}

/* ---- the verb ---------------------------------------------------------------------------------------------------- */

static bool check_dims(Tool *t)
{
    Compilation *c = &t->c;
    const Plan *plan = &c->emitted.plan;
    int64_t *sizes = arena_array(&c->arena, (size_t)plan->n_symbols + 1, sizeof *sizes);
    return signature_sizes(&c->cx, plan, t->o->dims, t->o->n_dims, NULL, 0, 1, 1, sizes);
}

static bool is_on_line(Span at, int line)
{
    return at.source && span_start(at).line == line;
}

static void print_remark(Report *r, const Remark *m)
{
    Text line = text_new(r->a);
    remark_print(m, &line);
    printf("%s\n", line.data);
}

/* Every decision, or those about a line and what that line stores; with the pages of the reasons. */
static void print_remarks(Report *r, int line)
{
    const Remarks *all = &r->t->c.remarks;
    bool seen[REMARK_CODE_COUNT] = {false};
    int shown = 0;
    for (size_t i = 0; i < all->count; i++) {
        const Remark *m = &all->items[i];
        if (line && !is_on_line(m->at, line) && !is_on_line(m->evidence, line))
            continue;
        print_remark(r, m);
        seen[m->code] |= m->kind == REMARK_MISSED;
        shown++;
    }
    for (int i = 0; line && i < r->account.n_stored; i++)
        if (is_on_line(r->account.stored[i].value->at, line)) {
            print_stored_line(r, &r->account.stored[i]);
            shown++;
        }
    for (int code = 0; line && code < REMARK_CODE_COUNT; code++)
        if (seen[code])
            printf("\n%s: %s\n%s\n", remark_code_name((RemarkCode)code), remark_code_sentence((RemarkCode)code),
                   remark_code_page((RemarkCode)code));
    if (line && !shown)
        printf("no pass decided anything about line %d\n", line);
}

static void print_report(Tool *t, const ReportOptions *asked)
{
    Compilation *c = &t->c;
    int64_t *sizes = arena_array(&c->arena, (size_t)c->kernels->n_symbols + 1, sizeof *sizes);
    Report r = {.t = t, .a = &c->arena, .account = remarks_account(t, sizes), .lanes = compile_target(c, &t->o->compile)->lanes};
    r.sizes = sizes;
    print_head(&r, sizes);
    if (asked->all || asked->line) {
        print_remarks(&r, asked->line);
        if (asked->all) {
            print_all_tiles(&r);
            print_approximations(t, false);
        }
        return;
    }
    print_decisions(&r);
    print_missed(&r);
    print_stored(&r);
    print_totals(&r);
}

static bool report(Tool *t, const ReportOptions *r)
{
    Compilation *c = &t->c;
    if (!tool_load(t) || !compile_passes(c, &t->o->compile))
        return false;
    if (!compile_emit(c, &t->o->compile) || !check_dims(t)) {
        if (!r->o.json)
            print_approximations(t, !r->all); /* a bound that does not hold is best seen among all figures */
        return false;
    }
    if (!r->o.json) {
        print_report(t, r);
        return true;
    }
    Text text = text_new(&c->arena);
    remarks_json(t, &text);
    fwrite(text.data, 1, text.length, stdout);
    return true;
}

int verb_report(int argc, char **argv)
{
    ReportOptions r = {0};
    options_parse(&argp, argc, argv, &r);
    Tool t;
    tool_begin(&t, &r.o);
    return tool_end(&t, report(&t, &r));
}
