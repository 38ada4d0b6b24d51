/* Decoding speed: one position a call, with the caches filled to several lengths. */
#include "cli/bench.h"

enum { STEPS = 32, ROUNDS = 7, ENOUGH = 1024 /* positions, where states alone are kept: no step takes longer behind more */ };

/* Inputs for `length` positions after `past`. */
static HostTensor *step_inputs(Bench *b, int64_t past, int64_t length)
{
    Compilation *c = &b->plain->c;
    const Plan *plan = &c->emitted.plan;
    int64_t *sizes = arena_array(&c->arena, (size_t)plan->n_symbols + 1, sizeof *sizes);
    for (int i = 0; i < plan->n_symbols; i++)
        sizes[i] = i == signature_past(plan) ? past : i == signature_step(plan) ? length : b->sizes[i];
    return bench_inputs(b, sizes);
}

static bool fill(Bench *b, Session *s, int64_t length)
{
    const Plan *plan = &b->plain->c.emitted.plan;
    int64_t most = plan->symbols[signature_step(plan)].high;
    while (session_length(s) < length) {
        int64_t left = length - session_length(s);
        HostTensor *inputs = step_inputs(b, session_length(s), left < most ? left : most);
        const HostTensor *outputs;
        if (!inputs || !session_run(&b->plain->c.cx, s, inputs, plan->n_inputs, &outputs))
            return false;
    }
    return true;
}

static bool keeps_state(const Bench *b)
{
    return plan_state(&b->plain->c.emitted.plan) != NULL;
}

/* How far a session goes on behind the positions that it was filled with. */
static int64_t steps_after(const Bench *b)
{
    return keeps_state(b) ? STEPS * (int64_t)ROUNDS : STEPS;
}

static bool measure(Bench *b, Session *s, const HostTensor *token, int64_t past, double *seconds)
{
    double rounds[ROUNDS];
    for (int r = 0; r < ROUNDS; r++) {
        if (!keeps_state(b)) /* a state only goes on */
            session_truncate(s, past);
        double start = tool_seconds();
        for (int i = 0; i < STEPS; i++) {
            const HostTensor *outputs;
            if (!session_run(&b->plain->c.cx, s, token, b->plain->c.emitted.plan.n_inputs, &outputs))
                return false;
        }
        rounds[r] = (tool_seconds() - start) / (int)STEPS;
    }
    *seconds = bench_median(rounds, ROUNDS);
    return true;
}

static bool all_lengths(Bench *b, Session *s, int64_t capacity)
{
    const HostTensor *token = step_inputs(b, 0, 1);
    int64_t longest = capacity - steps_after(b);
    if (!plan_grows(&b->plain->c.emitted.plan) && longest > ENOUGH)
        longest = ENOUGH;
    if (!token || !fill(b, s, longest))
        return false;
    int64_t lengths[MAX_DECODES];
    int count = 0;
    for (int64_t at = longest; at >= 1 && count < MAX_DECODES - 1; at /= 4)
        lengths[count++] = at;
    for (int i = 0; i < count; i++) {
        DecodeTime *d = &b->decodes[b->n_decodes];
        d->past = lengths[i];
        if (keeps_state(b) && i) {
            session_reset(s);
            if (!fill(b, s, d->past))
                return false;
        }
        if (!measure(b, s, token, d->past, &d->seconds))
            return false;
        b->n_decodes++;
    }
    return true;
}

bool bench_decode(Bench *b)
{
    const Plan *plan = &b->plain->c.emitted.plan;
    int64_t capacity = plan_capacity(plan);
    if (signature_step(plan) < 0 || signature_past(plan) < 0 || capacity <= steps_after(b)) {
        tool_note("decode: this model does not go token by token, or holds no more than %d positions", (int)steps_after(b));
        return true;
    }
    Session *s = session_new(&b->plain->c.cx, &b->plain->c.program, b->batch, tool_threads(&b->options->o), NULL);
    bool good = s && all_lengths(b, s, capacity);
    if (s)
        session_free(s);
    return good;
}
