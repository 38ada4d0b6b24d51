/* The decisions of the passes, counted for people and written for programs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "driver/memory.h"
#include "runtime/file.h"

/* ---- counting ---------------------------------------------------------------------------------------------------- */

static bool is_decision(const Remark *r)
{
    return r->kind != REMARK_ANALYSIS;
}

static int by_bytes(const void *a, const void *b)
{
    const Remark *x = *(const Remark *const *)a, *y = *(const Remark *const *)b;
    double saved_x = (x->bytes_before - x->bytes_after) * (double)x->times,
           saved_y = (y->bytes_before - y->bytes_after) * (double)y->times;
    return saved_x < saved_y ? 1 : saved_x > saved_y ? -1 : x < y ? -1 : 1;
}

/* Bytes at the end, from the start of a word on, that both texts have. */
static size_t common_end(const char *a, const char *b, size_t most)
{
    size_t n = strlen(a), m = strlen(b), same = 0, words = 0;
    while (same < n && same < m && same < most && a[n - 1 - same] == b[m - 1 - same]) {
        same++;
        if (a[n - same] == ' ')
            words = same;
    }
    return words;
}

/* Each sentence once; an end that all of them share is written once. */
static const char *join_sentences(Arena *a, const Remark **made, size_t count)
{
    Text out = text_new(a);
    Map seen = map_new(a);
    if (count)
        qsort(made, count, sizeof *made, by_bytes);
    for (size_t i = 0; i < count; i++)
        map_set(&seen, made[i]->why, (void *)made[i]);
    size_t end = count ? strlen(made[0]->why) : 0;
    for (size_t i = 1; i < seen.count; i++)
        end = common_end(seen.entries[0].key, seen.entries[i].key, end);
    for (size_t i = 0; i < seen.count; i++)
        if (strspn(seen.entries[i].key, "0123456789 ") >= strlen(seen.entries[i].key) - end)
            end = 0; /* a number alone is no sentence */
    for (size_t i = 0; i < seen.count; i++) {
        const char *why = seen.entries[i].key;
        bool whole = i + 1 == seen.count;
        text_add(&out, "%s%.*s", i ? "; " : "", (int)(strlen(why) - (whole ? 0 : end)), why);
    }
    return out.length ? out.data : "";
}

static Decisions of_pass(Tool *t, const PassInfo *pass)
{
    const Remarks *all = &t->c.remarks;
    const Remark **made = arena_array(&t->c.arena, all->count + 1, sizeof *made);
    size_t count = 0;
    Decisions d = {.pass = pass, .noun = strncmp(pass->name, "fuse-", 5) ? pass->name : pass->name + 5};
    for (size_t i = 0; i < all->count; i++) {
        const Remark *r = &all->items[i];
        if (strcmp(r->pass, pass->name) || !is_decision(r))
            continue;
        if (r->kind == REMARK_MISSED) {
            d.refused += r->times;
            continue;
        }
        d.folded |= r->code == REMARK_FOLDED;
        d.done += r->times;
        d.bytes += (r->bytes_before - r->bytes_after) * (double)r->times;
        made[count++] = r;
    }
    d.what = join_sentences(&t->c.arena, made, count);
    return d;
}

static int by_benefit(const void *a, const void *b)
{
    const Decisions *x = a, *y = b;
    return x->bytes < y->bytes ? 1 : x->bytes > y->bytes ? -1 : x->pass < y->pass ? -1 : 1;
}

int remarks_decisions(Tool *t, Decisions **out)
{
    Decisions *list = arena_array(&t->c.arena, PASS_COUNT, sizeof *list);
    int count = 0;
    for (int i = 0; i < PASS_COUNT; i++) {
        Decisions d = of_pass(t, &pass_info[i]);
        if (d.done || d.refused)
            list[count++] = d;
    }
    qsort(list, (size_t)count, sizeof *list, by_benefit);
    *out = list;
    return count;
}

Account remarks_account(Tool *t, int64_t *sizes)
{
    usual_sizes(&t->c.remarks, t->c.kernels, sizes);
    return account_of(&t->c.arena, t->c.model.graph, t->c.kernels, sizes);
}

const char *remarks_inexact(Tool *t)
{
    Text names = text_new(&t->c.arena);
    for (int i = 0; t->c.times && i < pipeline_length; i++)
        if (t->c.times[i].changed && pass_info[pipeline[i].id].kind == PASS_APPROX)
            text_add(&names, "%s%s", names.length ? ", " : "", t->c.times[i].pass);
    return names.length ? names.data : NULL;
}

/* ---- for programs ------------------------------------------------------------------------------------------------ */

Kept remarks_kept(const Plan *plan)
{
    Kept k = {0};
    for (int i = 0; i < plan->n_caches; i++) {
        const PlanTensor *c = &plan->caches[i];
        double bytes = (double)c->bytes_per_row * (double)c->layers;
        if (c->growing >= 0) {
            k.position_bytes += bytes / (double)c->dims[c->growing].base;
            continue;
        }
        k.states += (int)c->layers;
        k.state_bytes += bytes;
    }
    return k;
}

double remarks_weights(const Plan *plan, DType dtype)
{
    double bytes = 0;
    for (int i = 0; i < plan->n_weights; i++)
        if (plan->weights[i].dtype == dtype)
            bytes += (double)plan->weights[i].bytes * (double)plan->weights[i].layers;
    return bytes;
}

static void put_summary(Tool *t, const Account *a, const int64_t *sizes, Text *out)
{
    const Graph *g = t->c.kernels;
    int64_t kinds[3] = {0};
    for (size_t i = 0; i < t->c.remarks.count; i++)
        kinds[t->c.remarks.items[i].kind] += t->c.remarks.items[i].times;
    text_add(out, "{\"v\":1,\"kind\":\"summary\",\"model\":\"%s\",\"sizes\":{", g->name);
    for (int i = 0; i < g->n_symbols; i++)
        text_add(out, "%s\"%s\":%lld", i ? "," : "", g->symbols[i]->name, (long long)sizes[i]);
    text_add(out, "},\"passed\":%lld,\"missed\":%lld,\"analysis\":%lld,\"exact\":%s", (long long)kinds[REMARK_PASSED],
             (long long)kinds[REMARK_MISSED], (long long)kinds[REMARK_ANALYSIS], remarks_inexact(t) || t->c.approximations.count ? "false" : "true");
    text_add(out, ",\"flops\":%.0f,\"traffic\":{\"before\":%.0f,\"after\":%.0f,\"weights\":%.0f}", a->after.flops,
             a->before.bytes_read + a->before.bytes_written, a->after.bytes_read + a->after.bytes_written,
             a->after.bytes_of_weights);
    const Plan *plan = &t->c.emitted.plan;
    text_add(out, ",\"weights\":{\"f32\":%.0f,\"bf16\":%.0f,\"f16\":%.0f}", remarks_weights(plan, DT_F32), remarks_weights(plan, DT_BF16),
             remarks_weights(plan, DT_F16));
    text_add(out, ",\"arena\":{\"bytes\":%lld,\"bound\":%lld,\"separate\":%.0f},\"states\":%.0f,\"stored\":%d", (long long)a->arena,
             (long long)a->lower_bound, a->separate, remarks_kept(&t->c.emitted.plan).state_bytes, a->n_stored);
    Memory m = memory_of(&t->c, sizes);
    text_add(out, ",\"process\":{\"peak\":%lld,\"weights\":%lld,\"values\":%lld,\"tensors\":%lld,\"caches\":%lld,\"program\":%lld,\"thread\":%lld}}\n",
             (long long)m.peak, (long long)m.weights, (long long)m.values, (long long)m.tensors, (long long)m.caches, (long long)m.process,
             (long long)m.thread);
}

void remarks_json(Tool *t, Text *out)
{
    Compilation *c = &t->c;
    int64_t *sizes = arena_array(&c->arena, (size_t)c->kernels->n_symbols + 1, sizeof *sizes);
    Account a = remarks_account(t, sizes);
    for (size_t i = 0; i < c->remarks.count; i++) {
        remark_json(&c->remarks.items[i], c->kernels->name, out);
        text_char(out, '\n');
    }
    for (size_t i = 0; i < c->approximations.count; i++) {
        approximation_json(&c->approximations.items[i], c->kernels->name, out);
        text_char(out, '\n');
    }
    for (int i = 0; i < a.n_stored; i++) {
        Remark r = account_remark(&c->arena, &a.stored[i]);
        remark_json(&r, c->kernels->name, out);
        text_char(out, '\n');
    }
    put_summary(t, &a, sizes, out);
}

bool remarks_save(Tool *t)
{
    if (!t->c.kernels) {
        if (!t->c.diags.errors)
            tool_note("no pass ran, so `%s` was not written", t->o->remarks);
        return true;
    }
    Text text = text_new(&t->c.arena);
    remarks_json(t, &text);
    Writer w;
    writer_open(&t->c.cx, &w, t->o->remarks);
    writer_put(&w, text.data, text.length);
    return writer_close(&t->c.cx, &w);
}

/* ---- for people -------------------------------------------------------------------------------------------------- */

/* "6 missed: 4 MULTI_USE, 2 COST_WORSE" */
static void put_refused(Tool *t, const Decisions *d, Text *out)
{
    int64_t times[REMARK_CODE_COUNT] = {0};
    for (size_t i = 0; i < t->c.remarks.count; i++) {
        const Remark *r = &t->c.remarks.items[i];
        if (r->kind == REMARK_MISSED && !strcmp(r->pass, d->pass->name))
            times[r->code] += r->times;
    }
    text_add(out, "   %lld not:", (long long)d->refused);
    const char *comma = "";
    for (int code = 0; code < REMARK_CODE_COUNT; code++)
        if (times[code]) {
            text_add(out, "%s %lld %s", comma, (long long)times[code], remark_code_name((RemarkCode)code));
            comma = ",";
        }
}

void remarks_summary(Tool *t)
{
    enum { MOST_LINES = 10 };
    Compilation *c = &t->c;
    if (!c->kernels)
        return;
    Decisions *list;
    int count = remarks_decisions(t, &list);
    for (int i = 0; i < count && i < MOST_LINES; i++) {
        Text line = text_new(&c->arena);
        text_add(&line, "%s", list[i].noun);
        text_pad(&line, 14);
        text_add(&line, "%lld of %lld", (long long)list[i].done, (long long)(list[i].done + list[i].refused));
        if (list[i].bytes > 0) {
            text_pad(&line, 26);
            text_add(&line, "-%s traffic", tool_bytes(&c->arena, list[i].bytes));
        }
        if (list[i].refused)
            put_refused(t, &list[i], &line);
        tool_note("%s", line.data);
    }
    int64_t *sizes = arena_array(&c->arena, (size_t)c->kernels->n_symbols + 1, sizeof *sizes);
    Account a = remarks_account(t, sizes);
    if (c->kernels->n_regions) /* otherwise the passes stopped earlier */
        tool_note("memory        arena %s (%s if each value had its own)", tool_bytes(&c->arena, (double)a.arena),
              tool_bytes(&c->arena, a.separate));
    tool_note("why           attar report %s; attar explain CODE", t->o->compile.model);
}
