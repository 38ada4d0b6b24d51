/* attar bench: a model's time against what this machine can do, measured between the runs.
 *
 * Two builds of the model run: the plain one for the totals and the memory, and one with a clock around each kernel for
 * the table. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"

static const char doc[] = "Measures a model: total time, time per kernel, and the share of this machine's limit.\n\n"
                          "  attar bench models/bert.attar --weights DIR --dim B=1 --dim S=128 --threads 2\n"
                          "  attar bench models/llama.attar --weights models/austen --decode\n\n"
                          "The limit is measured in the same process, between the runs: fp32 multiply-adds from "
                          "registers, and bytes read from memory.";

enum { KEY_JSON = 1, KEY_DECODE, KEY_ROUNDS };

static const struct argp_option options[] = {
    {"json", KEY_JSON, 0, 0, "one JSON object on stdout", 0},
    {"decode", KEY_DECODE, 0, 0, "tokens per second through the caches, at several filled lengths", 0},
    {"rounds", KEY_ROUNDS, "N", 0, "rounds of probe and run (20)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    BenchOptions *b = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &b->o); return 0;
    case KEY_JSON: b->o.json = true; return 0;
    case KEY_DECODE: b->decode = true; return 0;
    case KEY_ROUNDS: b->rounds = (int)options_integer(state, "--rounds", arg, 1, MAX_ROUNDS); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&model_group, 0, NULL, 0},
                                           {&dims_group, 0, NULL, 0},
                                           {&inputs_group, 0, NULL, 0},
                                           {&threads_group, 0, NULL, 0},
                                           {&build_group, 0, NULL, 0},
                                           {&output_group, 0, NULL, 0},
                                           {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* ---- one build's runs -------------------------------------------------------------------------------------------- */

static bool one_run(Bench *b, Tool *t, Session *s, double *seconds)
{
    const HostTensor *outputs;
    if (t->c.emitted.plan.n_caches)
        session_reset(s);
    double start = tool_seconds();
    bool good = session_run(&t->c.cx, s, b->inputs, b->n_inputs, &outputs);
    *seconds = tool_seconds() - start;
    return good;
}

static bool warm_up(Bench *b, Tool *t, Session *s)
{
    double seconds, all = 0;
    for (int i = 0; i < 3 || (all < 0.05 && i < 100); i++, all += seconds)
        if (!one_run(b, t, s, &seconds))
            return false;
    return true;
}

static bool total_rounds(Bench *b, Tool *t, Session *s)
{
    double runs[MAX_ROUNDS], peaks[MAX_ROUNDS], reads[MAX_ROUNDS];
    int n = b->options->rounds;
    for (int i = 0; i < n; i++) {
        peaks[i] = limits_flops(&b->limits);
        reads[i] = limits_bandwidth(&b->limits);
        double again;
        if (!one_run(b, t, s, &again) || !one_run(b, t, s, &runs[i]))
            return false;
    }
    b->median = bench_median(runs, n);
    b->best = runs[0];
    b->flops = bench_median(peaks, n);
    b->bandwidth = bench_median(reads, n);
    return true;
}

/* The plain build: memory first, before the probe takes its own. */
static bool plain_runs(Bench *b)
{
    Tool *t = b->plain;
    Session *s = tool_session(t, b->inputs, b->n_inputs, NULL);
    if (!s)
        return false;
    bool good = warm_up(b, t, s);
    b->resident = tool_peak();
    good = good && limits_open(&t->c.cx, &b->options->o.compile, tool_threads(&b->options->o), &b->limits) &&
           total_rounds(b, t, s);
    session_free(s);
    return good && (!b->options->decode || bench_decode(b));
}

static bool kernel_runs(Bench *b, Tool *t)
{
    uint64_t *times = arena_array(&t->c.arena, (size_t)t->c.emitted.n_kernels + 1, sizeof *times);
    SessionHooks hooks = {.times = times};
    Session *s = tool_session(t, b->inputs, b->n_inputs, &hooks);
    if (!s)
        return false;
    bool good = warm_up(b, t, s);
    memset(times, 0, (size_t)t->c.emitted.n_kernels * sizeof *times);
    double seconds;
    for (int i = 0; good && i < b->options->rounds; i++)
        good = one_run(b, t, s, &seconds);
    session_free(s);
    b->kernels = arena_array(&b->plain->c.arena, (size_t)t->c.emitted.n_kernels + 1, sizeof *b->kernels);
    b->n_kernels = t->c.emitted.n_kernels;
    for (int i = 0; i < b->n_kernels; i++) {
        const KernelInfo *k = &t->c.emitted.kernels[i];
        Cost cost = node_cost(k->node, b->graph_sizes);
        double ran = (double)times[i] / b->options->rounds / 1e9, runs = (double)k->times;
        b->kernels[i] = (KernelTime){.name = arena_print(&b->plain->c.arena, "%s", k->name),
                                     .op = op_info[k->node->op].name,
                                     .times = k->times,
                                     .seconds = ran,
                                     .flops = runs * cost.flops,
                                     .bytes = runs * (cost.bytes_read + cost.bytes_written)};
    }
    return good;
}

/* The same model once more, with clocks. */
static bool timed_runs(Bench *b)
{
    Options o = b->options->o;
    o.compile.timing = true;
    Tool t;
    tool_begin(&t, &o);
    bool good = compile_all(&t.c, &o.compile) && kernel_runs(b, &t);
    int status = tool_end(&t, good);
    b->status = status;
    return status == EXIT_GOOD;
}

/* Made up as for `attar diff`, but every bool is true: a mask that drops keys would leave out work that is counted. */
HostTensor *bench_inputs(Bench *b, const int64_t *sizes)
{
    Compilation *c = &b->plain->c;
    const Plan *plan = &c->emitted.plan;
    HostTensor *inputs = signature_random(&c->cx, plan, c->model.graph, sizes, b->options->o.seed);
    for (int i = 0; inputs && i < plan->n_inputs; i++)
        for (int64_t k = 0; inputs[i].dtype == DT_BOOL && k < host_count(&inputs[i]); k++)
            host_set(&inputs[i], k, 1);
    return inputs;
}

bool bench_prepare(Bench *b)
{
    Tool *t = b->plain;
    Compilation *c = &t->c;
    const Options *o = &b->options->o;
    HostTensor *given;
    int n_given;
    if (!compile_all(c, &o->compile) || !tensors_load(&c->cx, o, &c->emitted.plan, &given, &n_given))
        return false;
    const Plan *plan = &c->emitted.plan;
    b->sizes = arena_array(&c->arena, (size_t)plan->n_symbols + 1, sizeof *b->sizes);
    b->graph_sizes = arena_array(&c->arena, (size_t)plan->n_symbols + 1, sizeof *b->graph_sizes);
    if (!signature_sizes(&c->cx, plan, o->dims, o->n_dims, given, n_given, 1, 128, b->sizes))
        return false;
    if (signature_past(plan) >= 0 && b->sizes[signature_past(plan)] != 0)
        tool_note("past = 0 for the totals; --decode measures at several filled lengths");
    if (signature_past(plan) >= 0)
        b->sizes[signature_past(plan)] = 0;
    signature_for_graph(plan, c->kernels, b->sizes, b->graph_sizes);
    b->inputs = n_given ? given : bench_inputs(b, b->sizes);
    b->n_inputs = n_given ? n_given : plan->n_inputs;
    return b->inputs != NULL;
}

/* ---- printing ---------------------------------------------------------------------------------------------------- */

static double least_seconds(const Bench *b, double flops, double bytes, bool *memory)
{
    double compute = flops / b->flops, read = b->bandwidth > 0 ? bytes / b->bandwidth : 0;
    *memory = read > compute;
    return fmax(compute, read);
}

static void print_kernels(const Bench *b)
{
    double all = 0;
    for (int i = 0; i < b->n_kernels; i++)
        all += b->kernels[i].seconds;
    printf("\n%-24s %-8s %5s %9s %7s %9s %8s  %s\n", "kernel", "", "runs", "ms", "share", "GFLOP/s", "GB/s",
           "of this machine's limit");
    for (int i = 0; i < b->n_kernels; i++) {
        const KernelTime *k = &b->kernels[i];
        bool memory;
        double least = least_seconds(b, k->flops, k->bytes, &memory), s = k->seconds > 0 ? k->seconds : 1e-12;
        if (k->seconds <= 0) { /* the side that a choice does not take */
            printf("%-24s %-8s %5s\n", k->name, k->op, "-");
            continue;
        }
        printf("%-24s %-8s %5lld %9.3f %5.1f %% %9.1f %8.1f  %3.0f %% %s\n", k->name, k->op, (long long)k->times,
               1e3 * k->seconds, 100 * s / all, 1e-9 * k->flops / s, 1e-9 * k->bytes / s, 100 * least / s,
               memory ? "memory" : "multiply-adds");
    }
    printf("memory: bytes at the measured speed of reading; a kernel whose data stays in the caches can show more "
           "than 100 %%\n");
}

static void print_text(const Bench *b)
{
    const Compilation *c = &b->plain->c;
    const Plan *plan = &c->emitted.plan;
    double flops = graph_cost(c->kernels, b->graph_sizes).flops, least = flops / b->flops;
    printf("%s", c->kernels->name);
    for (int i = 0; i < plan->n_symbols; i++)
        printf("   %s=%lld", plan->symbols[i].name, (long long)b->sizes[i]);
    printf("   threads=%d\n", tool_threads(&b->options->o));
    printf("machine   %.1f GFLOP/s of multiply-adds, %.1f GB/s read (medians of %d probes between the runs)\n",
           1e-9 * b->flops, 1e-9 * b->bandwidth, b->options->rounds);
    printf("inputs    %s\n", b->options->o.n_inputs ? "as given" : "made up, every bool true (--input gives others)");
    printf("total     %.3f ms median, %.3f ms best of %d; %.3f GFLOP at %.1f GFLOP/s: %.2fx the limit of %.3f ms\n",
           1e3 * b->median, 1e3 * b->best, b->options->rounds, 1e-9 * flops, 1e-9 * flops / b->median,
           b->median / least, 1e3 * least);
    if (c->checkpoint)
        printf("memory    %.1f MB peak resident, %.2fx the weights' %.1f MB\n", 1e-6 * b->resident,
               b->resident / (double)checkpoint_bytes(c->checkpoint), 1e-6 * (double)checkpoint_bytes(c->checkpoint));
    printf("compile   %.3f s clang, %.3f s linking%s\n", c->jit_stats.compile_seconds, c->jit_stats.link_seconds,
           c->jit_stats.cached ? " (from the cache)" : "");
    for (int i = 0; i < b->n_decodes; i++)
        printf("decode    %6lld positions filled: %8.1f us a token, %8.0f tokens/s\n", (long long)b->decodes[i].past,
               1e6 * b->decodes[i].seconds, (double)b->batch / b->decodes[i].seconds);
    print_kernels(b);
}

static json_t *kernels_json(const Bench *b)
{
    json_t *list = json_array();
    for (int i = 0; i < b->n_kernels; i++) {
        const KernelTime *k = &b->kernels[i];
        bool memory;
        double least = least_seconds(b, k->flops, k->bytes, &memory);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:s}", "name", k->name, "op", k->op,
                                        "runs", (json_int_t)k->times, "seconds", k->seconds, "flops", k->flops, "bytes",
                                        k->bytes, "share_of_limit", k->seconds > 0 ? least / k->seconds : 0.0, "limit",
                                        memory ? "memory" : "multiply-adds"));
    }
    return list;
}

static json_t *decodes_json(const Bench *b)
{
    json_t *list = json_array();
    for (int i = 0; i < b->n_decodes; i++)
        json_array_append_new(list, json_pack("{s:I, s:f, s:f}", "past", (json_int_t)b->decodes[i].past, "seconds",
                                              b->decodes[i].seconds, "tokens_per_second",
                                              (double)b->batch / b->decodes[i].seconds));
    return list;
}

static void print_json(const Bench *b)
{
    const Compilation *c = &b->plain->c;
    const Plan *plan = &c->emitted.plan;
    json_t *dims = json_object();
    for (int i = 0; i < plan->n_symbols; i++)
        json_object_set_new(dims, plan->symbols[i].name, json_integer(b->sizes[i]));
    double flops = graph_cost(c->kernels, b->graph_sizes).flops;
    json_t *all =
        json_pack("{s:s, s:o, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:b, s:f, s:o, s:o}", "model",
                  c->kernels->name, "dims", dims, "threads", tool_threads(&b->options->o), "peak_flops", b->flops,
                  "peak_bandwidth", b->bandwidth, "flops", flops, "seconds_median", b->median, "seconds_best", b->best,
                  "times_limit", b->median * b->flops / flops, "resident_bytes", b->resident, "weights_bytes",
                  c->checkpoint ? (double)checkpoint_bytes(c->checkpoint) : 0.0, "cached", c->jit_stats.cached,
                  "compile_seconds", c->jit_stats.compile_seconds + c->jit_stats.link_seconds, "decode",
                  decodes_json(b), "kernels", kernels_json(b));
    char *text = json_dumps(all, JSON_REAL_PRECISION(7));
    puts(text ? text : "{}");
    free(text);
    json_decref(all);
}

int verb_bench(int argc, char **argv)
{
    BenchOptions options_given = {.rounds = 20};
    options_parse(&argp, argc, argv, &options_given);
    Tool t;
    tool_begin(&t, &options_given.o);
    Bench b = {.options = &options_given, .plain = &t};
    bool good = bench_prepare(&b);
    b.batch = good && signature_batch(&t.c.emitted.plan) >= 0 ? b.sizes[signature_batch(&t.c.emitted.plan)] : 1;
    options_given.decode |= good && t.c.emitted.plan.n_caches > 0;
    good = good && plain_runs(&b) && timed_runs(&b);
    if (good && options_given.o.json)
        print_json(&b);
    else if (good)
        print_text(&b);
    limits_close(&b.limits);
    int status = tool_end(&t, good);
    return b.status ? b.status : status;
}
