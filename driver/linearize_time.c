/* How long one head takes before and after, by running it: a model of one key head and the query heads that share it, at the
 * length in question, on one thread. */
#include <math.h>
#include <string.h>
#include <time.h>

#include "driver/linearize.h"
#include "driver/signature.h"

enum { RUNS = 3 };
static const double MOST_FLOPS = 1e11; /* some seconds: longer ones are not run */

static const char *kernel_of(Arena *a, const LinearizeSite *site, const LinearizeSpec *spec)
{
    if (!spec)
        return "";
    if (spec->kind == LINEARIZE_PERFORMER)
        return ", kernel=performer(w)";
    return site->causal && spec->block ? arena_print(a, ", kernel=codebook(w, chunk=%lld, recent=\"keys\")", (long long)spec->block) : ", kernel=codebook(w)";
}

static const char *model_text(Arena *a, const LinearizeSite *s, const LinearizeSpec *spec)
{
    Text t = text_new(a);
    text_add(&t, "let R = %lld\nlet G = 1\nlet K = %lld\nlet W = %lld\n", (long long)s->group, (long long)s->width, (long long)s->values);
    if (spec)
        text_add(&t, "let F = %lld\n", (long long)spec->size);
    text_add(&t, "model Head(q: f32[B, S, R, K], k: f32[B, S, G, K], v: f32[B, S, G, W]%s) -> f32[B, S, R, W] {\n", spec ? ", w: f32[F, K]" : "");
    text_add(&t, "  return attention(q, k, v%s%s)\n}\n", s->causal ? ", mask=causal" : "", kernel_of(a, s, spec));
    return t.data;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double run(Compilation *c, int64_t length)
{
    const Plan *plan = &c->emitted.plan;
    NamedSize asked[] = {{"B", 1}, {"S", length}};
    int64_t *sizes = arena_array(&c->arena, (size_t)plan->n_symbols + 1, sizeof *sizes);
    const HostTensor *outputs;
    double best = INFINITY;
    if (!signature_sizes(&c->cx, plan, asked, 2, NULL, 0, 1, 1, sizes))
        return NAN;
    HostTensor *inputs = signature_random(&c->cx, plan, c->model.graph, sizes, 1);
    Session *s = inputs ? session_new(&c->cx, &c->program, 0, 1, NULL) : NULL;
    for (int i = 0; s && i < RUNS + 1; i++) {
        double start = now();
        if (!session_run(&c->cx, s, inputs, plan->n_inputs, &outputs))
            break;
        double took = now() - start;
        best = took < best ? took : best;
    }
    if (s)
        session_free(s);
    return isinf(best) ? NAN : best;
}

double linearize_time(const CompileOptions *o, const LinearizeSite *site, const LinearizeSpec *spec, int64_t length, double flops)
{
    if (length < 1 || !(flops <= MOST_FLOPS))
        return NAN;
    Compilation c;
    CompileOptions head = {.jit = o->jit, .target = o->target, .threads = 1};
    double seconds = NAN;
    compile_begin(&c);
    const char *text = model_text(&c.arena, site, spec);
    c.source = (Source){.path = "head.attar", .text = text, .size = strlen(text)};
    c.options = (ModelOptions){.n_checkpoint = -1};
    if (model_load(&c.cx, &c.source, &c.options, &c.model) && compile_passes(&c, &head) && compile_emit(&c, &head) && compile_build(&c, &head))
        seconds = run(&c, length);
    compile_free(&c);
    return seconds;
}
