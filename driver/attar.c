/* The public interface (runtime/attar.h) over compile.h and session.h.
 *
 * Every entry that may allocate from an arena first sets a way back: when memory runs out, the arena's handler jumps
 * there, what was made is released and the caller gets ATTAR_ENVIRONMENT. A model is not changed after attar_compile,
 * so sessions on several threads may share it; what one session writes (messages, converted tensors) lives in the
 * session. */
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "driver/compile.h"
#include "driver/signature.h"
#include "runtime/attar.h"

struct attar_model {
    Compilation c;
    int threads;
};

typedef struct Scratch { /* a context whose memory one call uses and the next one takes back */
    Arena arena;
    Names names;
    Diags diags;
    Context cx;
} Scratch;

struct attar_session {
    const attar_model *model;
    Scratch home, call; /* home: as long as the session */
    Session *session;
    attar_tensor *outputs;
    const HostTensor *results;
};

/* ---- errors ------------------------------------------------------------------------------------------------------ */

void attar_error_clear(attar_error *error)
{
    if (!error)
        return;
    free(error->message);
    *error = (attar_error){0};
}

static attar_status fail(attar_error *error, attar_status status, const char *message)
{
    if (error)
        *error = (attar_error){.status = status, .message = strdup(message)};
    return status;
}

static attar_status out_of_memory(attar_error *error)
{
    return fail(error, ATTAR_ENVIRONMENT, "error[E1001]: out of memory\n");
}

static attar_status fail_with(attar_error *error, const Diags *diags)
{
    Text text = text_new(diags->arena);
    diag_render(diags, &text, false);
    int status = diag_exit_status(diags);
    return fail(error, status ? (attar_status)status : ATTAR_INTERNAL, text.data ? text.data : "");
}

static void escape(void *state)
{
    longjmp(*(jmp_buf *)state, 1);
}

static void guard(Arena *a, jmp_buf *way_back)
{
    a->on_oom = way_back ? escape : NULL;
    a->oom_state = way_back;
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

/* False if a name is no pass, or one that has to run. */
static bool passes_off(const attar_options *o, PassOptions *passes)
{
    for (const char *const *name = o->passes_off; name && *name; name++) {
        PassId id;
        if (!pass_from_name(*name, &id) || !compile_may_turn_off(id))
            return false;
        passes->off[id] = true;
    }
    return true;
}

static void hand_over_warnings(const attar_options *o, Compilation *c)
{
    if (!o->warn || !c->diags.warnings)
        return;
    Text text = text_new(&c->arena);
    diag_render(&c->diags, &text, false);
    o->warn(o->warn_state, text.data);
}

static CompileOptions compile_options(const attar_options *o, int threads)
{
    return (CompileOptions){
        .model = o->model,
        .model_name = o->model_name,
        .weights = o->weights,
        .more_weights = o->more_weights,
        .config = o->config,
        .allow_extra = o->allow_extra,
        .lora = o->lora,
        .lora_mode = o->lora_mode,
        .lora_stored = o->lora_stored,
        .wide_weights = o->wide_weights,
        .last_position = o->last_position,
        .lowrank = o->lowrank,
        .linearize = o->linearize,
        .compute = o->compute,
        .calibrate = o->calibrate,
        .taps = o->taps,
        .timing = o->timing,
        .threads = threads,
        .jit = {.clang = o->clang, .no_cache = o->no_cache, .cache_dir = o->cache_dir},
    };
}

attar_status attar_compile(const attar_options *o, attar_model **out, attar_error *error)
{
    *out = NULL;
    int threads = o->threads > 0 ? o->threads : pool_cpus();
    CompileOptions options = compile_options(o, threads);
    if (!o->model)
        return fail(error, ATTAR_USAGE, "error: no model file was named\n");
    if (!passes_off(o, &options.passes))
        return fail(error, ATTAR_USAGE, "error: passes_off names something that is no pass, or one that has to run\n");
    attar_model *m = calloc(1, sizeof *m);
    if (!m)
        return out_of_memory(error);
    jmp_buf way_back;
    m->threads = threads;
    compile_begin(&m->c);
    guard(&m->c.arena, &way_back);
    if (setjmp(way_back)) {
        attar_model_free(m);
        return out_of_memory(error);
    }
    if (!compile_all(&m->c, &options)) {
        attar_status status = fail_with(error, &m->c.diags);
        attar_model_free(m);
        return status;
    }
    hand_over_warnings(o, &m->c);
    guard(&m->c.arena, NULL);
    *out = m;
    return ATTAR_OK;
}

void attar_model_free(attar_model *m)
{
    if (!m)
        return;
    compile_free(&m->c);
    free(m);
}

static const Plan *plan_of(const attar_model *m)
{
    return &m->c.emitted.plan;
}

int attar_input_count(const attar_model *m)
{
    return plan_of(m)->n_inputs;
}
int attar_output_count(const attar_model *m)
{
    return plan_of(m)->n_outputs;
}
bool attar_has_cache(const attar_model *m)
{
    return plan_of(m)->n_caches > 0;
}
int64_t attar_cache_capacity(const attar_model *m)
{
    return plan_capacity(plan_of(m));
}

int attar_approximation_count(const attar_model *m)
{
    return (int)m->c.approximations.count;
}

bool attar_approximation_at(const attar_model *m, int i, attar_approximation *out)
{
    if (i < 0 || i >= attar_approximation_count(m))
        return false;
    const Approximation *a = &m->c.approximations.items[i];
    *out = (attar_approximation){.kind = a->kind,
                                 .where = a->where,
                                 .setting = a->setting,
                                 .error = a->error,
                                 .predicted = a->predicted,
                                 .measured = a->measured,
                                 .bound = a->bound,
                                 .measured_on = a->measured_on};
    return true;
}

const char *attar_input_name(const attar_model *m, int i)
{
    return i >= 0 && i < plan_of(m)->n_inputs ? plan_of(m)->inputs[i].name : NULL;
}

const char *attar_output_name(const attar_model *m, int i)
{
    return i >= 0 && i < plan_of(m)->n_outputs ? plan_of(m)->outputs[i].name : NULL;
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

static void scratch_begin(Scratch *s)
{
    s->diags = (Diags){.arena = &s->arena};
    s->names.map = map_new(&s->arena);
    s->cx = (Context){.arena = &s->arena, .diags = &s->diags, .names = &s->names};
}

static bool session_open(attar_session *s, int64_t batch, int threads)
{
    scratch_begin(&s->home);
    const Plan *plan = plan_of(s->model);
    s->outputs = arena_array(&s->home.arena, (size_t)plan->n_outputs, sizeof *s->outputs);
    s->session = session_new(&s->home.cx, &s->model->c.program, batch, threads, NULL);
    return s->session != NULL;
}

attar_status attar_session_new(const attar_model *m, int64_t batch, int threads, attar_session **out,
                               attar_error *error)
{
    *out = NULL;
    attar_session *s = calloc(1, sizeof *s);
    if (!s)
        return out_of_memory(error);
    jmp_buf way_back;
    s->model = m;
    guard(&s->home.arena, &way_back);
    if (setjmp(way_back)) {
        attar_session_free(s);
        return out_of_memory(error);
    }
    if (!session_open(s, batch, threads > 0 ? threads : m->threads)) {
        attar_status status = fail_with(error, &s->home.diags);
        attar_session_free(s);
        return status;
    }
    guard(&s->home.arena, NULL);
    *out = s;
    return ATTAR_OK;
}

void attar_session_free(attar_session *s)
{
    if (!s)
        return;
    if (s->session)
        session_free(s->session);
    arena_free(&s->home.arena);
    arena_free(&s->call.arena);
    free(s);
}

void attar_session_reset(attar_session *s)
{
    session_reset(s->session);
}
int64_t attar_session_length(const attar_session *s)
{
    return session_length(s->session);
}
void attar_session_truncate(attar_session *s, int64_t length)
{
    session_truncate(s->session, length);
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

enum { INPUTS_ON_STACK = 16 };

static bool host_tensor(Context *cx, const attar_tensor *t, HostTensor *out)
{
    const char *name = t->name ? t->name : "(unnamed)";
    *out = (HostTensor){.name = name, .rank = t->rank, .data = t->data};
    if (!t->dtype || !dtype_from_name(t->dtype, &out->dtype)) {
        diag_file_error(cx->diags, "E0652", NULL, NULL, "input `%s`: `%s` is no element type", name,
                        t->dtype ? t->dtype : "(none)");
        return false;
    }
    if (t->rank < 0 || t->rank > MAX_RANK) {
        diag_file_error(cx->diags, "E0652", NULL, NULL, "input `%s` has %d axes; a tensor has 0 to %d", name, t->rank,
                        MAX_RANK);
        return false;
    }
    for (int i = 0; i < t->rank; i++)
        out->dims[i] = t->dims[i];
    return true;
}

static void show_outputs(attar_session *s)
{
    for (int i = 0; i < plan_of(s->model)->n_outputs; i++) {
        const HostTensor *r = &s->results[i];
        attar_tensor *t = &s->outputs[i];
        *t = (attar_tensor){.name = r->name, .dtype = dtype_name(r->dtype), .rank = r->rank, .data = r->data};
        memcpy(t->dims, r->dims, sizeof t->dims);
    }
}

static bool run(attar_session *s, const attar_tensor *inputs, int n_inputs)
{
    Context *cx = &s->call.cx;
    HostTensor few[INPUTS_ON_STACK], *hosts = few;
    if (n_inputs > INPUTS_ON_STACK)
        hosts = arena_array(cx->arena, (size_t)n_inputs, sizeof *hosts);
    for (int i = 0; i < n_inputs; i++)
        if (!host_tensor(cx, &inputs[i], &hosts[i]))
            return false;
    return session_run(cx, s->session, hosts, n_inputs, &s->results);
}

attar_status attar_run(attar_session *s, const attar_tensor *inputs, int n_inputs, const attar_tensor **outputs,
                       attar_error *error)
{
    *outputs = NULL;
    jmp_buf way_back;
    if (s->call.arena.blocks)
        arena_free(&s->call.arena);
    guard(&s->call.arena, &way_back);
    if (setjmp(way_back))
        return out_of_memory(error);
    scratch_begin(&s->call);
    bool good = run(s, inputs, n_inputs);
    guard(&s->call.arena, NULL);
    if (!good)
        return fail_with(error, &s->call.diags);
    show_outputs(s);
    *outputs = s->outputs;
    return ATTAR_OK;
}
