/* attar generate: continues a text with a model whose tokens are bytes. Prefill in one call, then one token a call
 * through the caches. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "driver/sample.h"

typedef struct GenerateOptions {
    Options o;
    const char *prompt;
    int64_t steps, top_k, seed;
    double temperature;
    bool hold;
} GenerateOptions;

static const char doc[] =
    "Continues a text.\n\n"
    "  attar generate models/llama.attar --weights models/austen --prompt \"It is a truth\" --steps 300\n"
    "  attar generate models/llama.attar --weights models/austen --prompt \"It is a truth\" --temperature 0.8 --top-k "
    "40 --seed 1\n\n"
    "The text streams to stdout. The model's config.json has to say \"tokenizer\": \"bytes\": one token is one byte.";

enum { KEY_STEPS = 1, KEY_TEMPERATURE, KEY_TOP_K, KEY_SEED, KEY_HOLD };

static const struct argp_option options[] = {
    {"prompt", 'p', "TEXT", 0, "the text to continue", 0},
    {"steps", KEY_STEPS, "N", 0, "tokens to add (200)", 0},
    {"temperature", KEY_TEMPERATURE, "X", 0, "0: always the likeliest token (the default); larger: more daring", 0},
    {"top-k", KEY_TOP_K, "K", 0, "draw among the K likeliest tokens only", 0},
    {"seed", KEY_SEED, "N", 0, "seed of the draws (0)", 0},
    {"no-stream", KEY_HOLD, 0, 0, "write the text at the end instead of token by token", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    GenerateOptions *g = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &g->o); return 0;
    case 'p': g->prompt = arg; return 0;
    case KEY_STEPS: g->steps = options_integer(state, "--steps", arg, 0, INT32_MAX); return 0;
    case KEY_TEMPERATURE: g->temperature = options_real(state, "--temperature", arg, 0, 100); return 0;
    case KEY_TOP_K: g->top_k = options_integer(state, "--top-k", arg, 1, INT32_MAX); return 0;
    case KEY_SEED: g->seed = options_integer(state, "--seed", arg, 0, INT64_MAX); return 0;
    case KEY_HOLD: g->hold = true; return 0;
    case ARGP_KEY_END:
        if (!g->prompt || !*g->prompt)
            argp_error(state, "what to continue? --prompt TEXT, of one byte at least");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&model_group, 0, NULL, 0},
                                           {&threads_group, 0, NULL, 0},
                                           {&build_group, 0, NULL, 0},
                                           {&output_group, 0, NULL, 0},
                                           {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

typedef struct Writer {
    Tool *t;
    const GenerateOptions *g;
    const Plan *plan;
    Session *session;
    Sampler sampler;
    int64_t vocabulary;
    int64_t made;
    double prompt_seconds, seconds; /* prefill; all later steps */
    const char *end;                /* why it stopped early, or NULL */
} Writer;

/* ---- is this a model of text? ------------------------------------------------------------------------------------ */

static bool not_text(Tool *t, const char *why)
{
    Diag *d =
        diag_file_error(&t->c.diags, "E0657", t->o->compile.model, NULL, "`generate` cannot use this model: %s", why);
    diag_help(d, "prepare the tokens yourself and use `attar run`");
    return false;
}

static bool check_tokenizer(Tool *t)
{
    json_t *tokenizer = t->c.config ? json_at(t->c.config, "tokenizer") : NULL;
    const char *name = json_string_value(tokenizer);
    if (name && !strcmp(name, "bytes"))
        return true;
    if (name)
        return not_text(
            t, arena_print(&t->c.arena, "its config.json asks for the tokenizer `%s`; only `bytes` is known", name));
    return not_text(t, "its config.json does not say \"tokenizer\": \"bytes\"");
}

static bool check_signature(Tool *t, int64_t *vocabulary)
{
    const Plan *p = &t->c.emitted.plan;
    if (!p->n_caches || signature_step(p) < 0)
        return not_text(t, "it has no cache, so it cannot go on token by token");
    if (p->n_inputs != 1 || p->inputs[0].rank != 2 || p->inputs[0].dtype != DT_I32)
        return not_text(t, "it should have one input of token numbers, i32[batch, positions]");
    const PlanTensor *y = &p->outputs[0];
    bool one = y->rank == 3 && !y->dims[1].n && y->dims[1].base == 1; /* the last position alone (narrow-output) */
    if (p->n_outputs != 1 || y->rank != 3 || y->dtype != DT_F32 || y->dims[2].n ||
        (!one && signature_axis(y, signature_step(p)) != 1))
        return not_text(t, "it should have one output of logits, f32[batch, positions, vocabulary]");
    *vocabulary = y->dims[2].base;
    if (*vocabulary < 1 || *vocabulary > 256)
        return not_text(
            t, arena_print(&t->c.arena, "a vocabulary of %lld tokens is not one of bytes", (long long)*vocabulary));
    return true;
}

/* config.json's eos_token_id: a number or a list of them. */
static bool is_end(const Tool *t, int64_t token)
{
    json_t *eos = json_at(t->c.config, "eos_token_id");
    if (json_is_integer(eos))
        return json_integer_value(eos) == token;
    for (size_t i = 0; json_is_array(eos) && i < json_array_size(eos); i++)
        if (json_is_integer(json_array_get(eos, i)) && json_integer_value(json_array_get(eos, i)) == token)
            return true;
    return false;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static bool step(Writer *w, int32_t *tokens, int64_t count, int64_t *next)
{
    HostTensor ids = {.name = w->plan->inputs[0].name, .dtype = DT_I32, .rank = 2, .dims = {1, count}, .data = tokens};
    const HostTensor *logits;
    if (!session_run(&w->t->c.cx, w->session, &ids, 1, &logits))
        return false;
    *next = sample_token(&w->sampler, (const float *)logits->data + (logits->dims[1] - 1) * w->vocabulary, w->vocabulary);
    return true;
}

static bool prefill(Writer *w, int64_t *next)
{
    size_t length = strlen(w->g->prompt);
    int32_t *tokens = arena_array(&w->t->c.arena, length, sizeof *tokens);
    for (size_t i = 0; i < length; i++)
        tokens[i] = (unsigned char)w->g->prompt[i];
    double start = tool_seconds();
    bool good = step(w, tokens, (int64_t)length, next);
    w->prompt_seconds = tool_seconds() - start;
    return good;
}

static bool write_text(Writer *w)
{
    int64_t next, capacity = plan_capacity(w->plan);
    if (!prefill(w, &next))
        return false;
    fputs(w->g->prompt, stdout);
    double start = tool_seconds();
    for (; w->made < w->g->steps && !w->end; w->made++) {
        if (is_end(w->t, next)) {
            w->end = "the model ended its text";
            break;
        }
        putchar((int)next);
        if (!w->g->hold)
            fflush(stdout);
        if (w->made + 1 == w->g->steps)
            continue;
        if (session_length(w->session) == capacity) {
            w->end = arena_print(&w->t->c.arena, "%s: this model holds %lld positions",
                                 plan_grows(w->plan) ? "the cache is full" : "the text is as long as it may be",
                                 (long long)capacity);
            continue;
        }
        int32_t token = (int32_t)next;
        if (!step(w, &token, 1, &next))
            return false;
    }
    w->seconds = tool_seconds() - start;
    putchar('\n');
    return true;
}

static void say_how(const Writer *w)
{
    int64_t timed = w->made > 1 ? w->made - 1 : 0;
    int threads = tool_threads(w->t->o);
    tool_note("%s", "");
    if (w->end)
        tool_note("stopped after %lld tokens: %s", (long long)w->made, w->end);
    tool_note("prompt: %zu tokens in %.1f ms; then %lld tokens in %.3f s: %.0f tokens/s on %d thread%s",
              strlen(w->g->prompt), 1e3 * w->prompt_seconds, (long long)timed, w->seconds,
              w->seconds > 0 ? (double)timed / w->seconds : 0.0, threads, threads == 1 ? "" : "s");
    tool_note("fused: %s; compiled in %.2f s%s", tool_fused(w->t),
              w->t->c.jit_stats.compile_seconds + w->t->c.jit_stats.link_seconds,
              w->t->c.jit_stats.cached ? " (machine code from the cache)" : "");
}

static bool generate(Tool *t, const GenerateOptions *g)
{
    CompileOptions o = g->o.compile;
    o.last_position = true;
    Writer w = {.t = t, .g = g, .plan = &t->c.emitted.plan};
    if (!compile_load(&t->c, &o) || !check_tokenizer(t) || !compile_passes(&t->c, &o) ||
        !compile_emit(&t->c, &o) || !check_signature(t, &w.vocabulary) ||
        !compile_build(&t->c, &o))
        return false;
    w.sampler = (Sampler){.temperature = g->temperature,
                          .top_k = g->top_k,
                          .seed = (uint64_t)g->seed,
                          .work = arena_array(&t->c.arena, 2 * (size_t)w.vocabulary, sizeof(double))};
    w.session = session_new(&t->c.cx, &t->c.program, 1, tool_threads(&g->o), NULL);
    if (!w.session)
        return false;
    tool_flush(t);
    bool good = write_text(&w);
    if (good)
        say_how(&w);
    session_free(w.session);
    return good;
}

int verb_generate(int argc, char **argv)
{
    GenerateOptions g = {.steps = 200};
    options_parse(&argp, argc, argv, &g);
    Tool t;
    tool_begin(&t, &g.o);
    return tool_end(&t, generate(&t, &g));
}
